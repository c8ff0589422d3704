//! The writing thread: files of records, and what is done when a disk takes no more.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;

use crate::engine::record::Over;

/// Files of the same name that are tried: gateways of one process may share a folder.
const NAMES: u32 = 100;

/// What media threads ask for. Numbers are those of records.
pub(super) enum Message {
    /// A record begins.
    Open {
        number: u64,
        /// Of its file, without the ending.
        name: String,
        /// To be set when the disk takes no more.
        refused: Arc<AtomicBool>,
    },
    /// Whole lines.
    Bytes { number: u64, bytes: Vec<u8> },
    /// The last lines.
    Close { number: u64, bytes: Vec<u8> },
    /// The gateway ends.
    Stop,
}

/// A file of a record.
pub(super) trait Sheet: Write {
    /// Leaves only the first `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Sheet for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(io::SeekFrom::Start(length)).map(drop)
    }
}

/// Where files are made.
pub(super) trait Place: Send + 'static {
    /// A new file; never one that is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn Sheet>>;
}

/// A folder.
pub(super) struct Folder(pub(super) PathBuf);

impl Place for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn Sheet>> {
        for n in 0..NAMES {
            let again = if n == 0 { String::new() } else { format!("-{n}") };
            match new_file(&self.0.join(format!("{name}{again}.mgwrec"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|file| Box::new(file) as Box<dyn Sheet>),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// For its owner only: it holds what was said.
fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the folder if it is not there, and tries whether files can be made in it.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let probe = folder.join(format!(".mgw-{}-{:?}", std::process::id(), std::thread::current().id()));
    new_file(&probe)?.write_all(b"mgw")?;
    std::fs::remove_file(&probe)
}

struct Open {
    name: String,
    sheet: Box<dyn Sheet>,
    written: u64,
    refused: Arc<AtomicBool>,
}

/// The thread's life: until it is told to stop, or nobody is there to tell it anything.
pub(super) fn write_all(messages: &Receiver<Message>, place: &impl Place) {
    let mut files: HashMap<u64, Open> = HashMap::new();
    for message in messages {
        let (number, bytes, last) = match message {
            Message::Open { number, name, refused } => {
                match place.create(&name) {
                    Ok(sheet) => drop(files.insert(number, Open { name, sheet, written: 0, refused })),
                    Err(error) => {
                        tracing::warn!(file = name, %error, "a flight record cannot be made");
                        refused.store(true, Ordering::Relaxed);
                    }
                }
                continue;
            }
            Message::Bytes { number, bytes } => (number, bytes, false),
            Message::Close { number, bytes } => (number, bytes, true),
            Message::Stop => return,
        };
        let Some(open) = files.get_mut(&number) else { continue };
        let written = open.sheet.write_all(&bytes);
        open.written += if written.is_ok() { bytes.len() as u64 } else { 0 };
        if let Err(error) = &written {
            tracing::warn!(file = open.name, %error, "a flight record ends early: the disk takes no more");
            open.refused.store(true, Ordering::Relaxed);
            // Often there is room for one line more when half a piece is taken back.
            let mut line = serde_json::json!({ "over": Over::Failed }).to_string();
            line.push('\n');
            if let Err(error) = open.sheet.cut(open.written).and_then(|()| open.sheet.write_all(line.as_bytes())) {
                tracing::debug!(%error, "nor does it take the last line");
            }
        }
        if last || written.is_err() {
            files.remove(&number);
        }
    }
}
