//! Flight records of rooms on disk: one thread writes, media threads only hand it bytes and never wait.
//!
//! ```text
//! media thread: TapedRoom ── lines ──► Tape ── bounded channel ──► mgw-record ──► <folder>/<room>-<start>-<n>.mgwrec
//! ```
//! `engine::record` says what is in the lines. A record that cannot be gone on with (size, disk) ends with a line that
//! says why; the call goes on, and its sessions are told once.

mod disk;
mod taped_room;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Sender, bounded};

use crate::config::RecorderConfig;
use crate::engine::record::writer::Writer;
use crate::engine::record::{FORMAT, Header, Over};
use disk::Message;
pub use taped_room::TapedRoom;

/// Pieces that may wait for the disk, of a little more than [`PIECE`] bytes each.
const QUEUE: usize = 1024;
/// Places of the queue that are kept for the beginnings and ends of records.
const CLOSINGS: usize = 4096;
/// Bytes that are handed over at a time: a tenth of a second of a call of two.
const PIECE: usize = 8 * 1024;
/// Bytes kept for the last line.
const LAST_LINE: u64 = 64;
/// Most bytes of a room's name in a file's.
const NAME: usize = 64;

/// The flight recorder of a gateway.
pub struct Recorder {
    messages: Sender<Message>,
    max_bytes: u64,
    tapes: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts the writing thread; `None` without a folder. The folder is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, files cannot be made in it, or the system refuses a thread.
    pub fn start(config: &RecorderConfig) -> io::Result<Option<Recorder>> {
        let Some(folder) = &config.folder else { return Ok(None) };
        disk::prepare(folder)?;
        Recorder::with(disk::Folder(folder.clone()), config.max_bytes, QUEUE).map(Some)
    }

    fn with(place: impl disk::Place, max_bytes: u64, queue: usize) -> io::Result<Recorder> {
        let (messages, waiting) = bounded(queue + CLOSINGS);
        let thread = crate::sys::spawn_thread("mgw-record", move || {
            crate::log::adopt();
            disk::write_all(&waiting, &place);
        })?;
        Ok(Recorder { messages, max_bytes, tapes: AtomicU64::new(1), thread: Mutex::new(Some(thread)) })
    }

    /// A new record of a room. `part` is 1, higher for an engine that follows one that panicked.
    fn tape(&self, room: &str, first_segment: u64, part: u32) -> Tape {
        let number = self.tapes.fetch_add(1, Ordering::Relaxed);
        let started = utc(SystemTime::now());
        let header = Header {
            mgw_flight_record: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            room: room.into(),
            first_segment,
            part,
            started: started.clone(),
        };
        let refused = Arc::new(AtomicBool::new(false));
        let mut tape = Tape {
            number,
            messages: self.messages.clone(),
            writer: Writer::new(&header),
            bytes_left: self.max_bytes.saturating_sub(LAST_LINE),
            refused: Arc::clone(&refused),
            over: None,
            untold: None,
        };
        let name = format!("{}-{started}-{number}", safe(room));
        if tape.messages.try_send(Message::Open { number, name, refused }).is_err() {
            tape.lose(Over::Slow);
        }
        tape
    }

    /// Writes what waits and ends the thread; false if the disk had not taken it by the deadline.
    pub fn stop(&self, deadline: Instant) -> bool {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return true };
        let _ = self.messages.send_deadline(Message::Stop, deadline);
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // A panic of it was logged where it happened.
        let _ = thread.join();
        true
    }
}

/// The record of one room, on the media thread's side.
struct Tape {
    number: u64,
    messages: Sender<Message>,
    writer: Writer,
    /// Bytes that the file may still get.
    bytes_left: u64,
    /// Set by the writing thread when the disk takes no more.
    refused: Arc<AtomicBool>,
    /// Nothing is noted any more, and why.
    over: Option<Over>,
    /// What the sessions are to be told.
    untold: Option<Over>,
}

impl Tape {
    /// Whether inputs are still to be noted.
    fn runs(&self) -> bool {
        self.over.is_none()
    }

    /// A line was begun: hands on what has come together before it.
    fn noted(&mut self) {
        if self.writer.len() as u64 > self.bytes_left {
            self.lose(Over::Full);
        } else if self.writer.len() >= PIECE {
            self.hand_on();
        }
    }

    /// Once in a round: what has become of the file, if the sessions are to be told.
    fn trouble(&mut self) -> Option<Over> {
        if self.runs() && self.refused.load(Ordering::Relaxed) {
            self.over = Some(Over::Failed);
            self.untold = self.over;
        }
        self.untold.take()
    }

    /// The record ends before its room does: the line that was begun is left out.
    fn lose(&mut self, why: Over) {
        self.writer.take_back();
        self.untold = Some(why);
        self.finish(why);
    }

    /// The record ends.
    fn finish(&mut self, why: Over) {
        if self.runs() {
            self.over = Some(why);
            self.writer.over(why);
            let message = Message::Close { number: self.number, bytes: self.writer.take() };
            // One that is refused has no last line, which a reader tells.
            let _ = self.messages.try_send(message);
        }
    }

    fn hand_on(&mut self) {
        let bytes = self.writer.take();
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64);
        let full = self.messages.len() + CLOSINGS >= self.messages.capacity().unwrap_or(usize::MAX);
        if full || self.messages.try_send(Message::Bytes { number: self.number, bytes }).is_err() {
            // Lines are missing now, so nothing but the last one may follow.
            self.lose(Over::Slow);
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.finish(Over::Ended);
    }
}

/// A room's name as a part of a file's: letters, digits, `-`, `_`.
fn safe(room: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = room.chars().take(NAME).map(plain).collect();
    if name.is_empty() { "room".into() } else { name }
}

/// `20260131T120000Z`; days to a date by Howard Hinnant's "chrono-compatible low-level date algorithms".
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
