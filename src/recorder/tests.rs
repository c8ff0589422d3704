use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::disk::{Place, Sheet};
use super::*;
use crate::engine::record::replay::Replay;
use crate::engine::{Input, SessionId};

const LIMIT: Duration = Duration::from_secs(60);
const A: SessionId = SessionId(1);

fn soon() -> Instant {
    Instant::now() + LIMIT
}

fn recorder(folder: PathBuf, max_bytes: u64) -> Recorder {
    Recorder::start(&RecorderConfig { folder: Some(folder), max_bytes }).expect("a recorder").expect("with a folder")
}

/// One round of a room in which a session says something.
fn round(room: &mut TapedRoom, n: u64) {
    let now = Duration::from_millis(10 * n);
    let voice: Vec<i16> = (0..160i16).map(|i| i.wrapping_mul(n as i16) % 999).collect();
    room.handle(now, Input::Said { session: A, samples: &voice });
    room.handle(now, Input::Tick);
    while room.poll().is_some() {}
}

/// The files of a folder with what is in them, by name.
fn files(folder: &std::path::Path) -> Vec<(String, String)> {
    let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("entry").path();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).expect("folder").map(name).collect();
    paths.sort();
    let text = |path: &PathBuf| {
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).expect("a record"))
    };
    paths.iter().map(text).collect()
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// Every line can be read and gives what it gave.
fn same(text: &str) {
    assert!(text.ends_with('\n'), "whole lines");
    let mut lines = text.lines();
    let (mut replay, _) = Replay::begin(lines.next().expect("header")).expect("header");
    for line in lines {
        replay.line(line, &mut |_, _| {}).unwrap_or_else(|stop| panic!("{stop:?}"));
    }
}

#[test]
fn records_go_to_private_files_of_their_own_and_end_with_the_room() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().expect("folder");
    let folder = temp.path().join("not/there yet");
    let recorder = recorder(folder.clone(), 1 << 20);
    let mut rooms: Vec<TapedRoom> =
        ["../../etc/passwd", "Zimmer ä/1", "Zimmer ä/1"].map(|name| TapedRoom::new(Some(&recorder), name, 1)).into();
    for n in 1..100 {
        rooms.iter_mut().for_each(|room| round(room, n));
    }
    drop(rooms);
    assert!(recorder.stop(soon()));
    let files = files(&folder);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(files.len(), 3, "{names:?}");
    assert!(names[0].starts_with("Zimmer___1-20") && names[2].starts_with("______etc_passwd-20"), "{names:?}");
    for (name, text) in &files {
        assert!(name.ends_with(".mgwrec") && name.is_ascii());
        same(text);
        assert_eq!(last(text), "{\"over\":\"ended\"}");
        assert_eq!(text.lines().count(), 2 + 99 * 2);
        let mode = std::fs::metadata(folder.join(name)).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mode = std::fs::metadata(&folder).expect("folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_record_that_is_large_enough_ends_says_so_and_is_no_larger() {
    let temp = tempfile::tempdir().expect("folder");
    let recorder = recorder(temp.path().to_owned(), 50_000);
    let mut room = TapedRoom::new(Some(&recorder), "r", 1);
    let mut told = Vec::new();
    for n in 1..500 {
        round(&mut room, n);
        told.extend(room.record_trouble());
    }
    assert_eq!(told, [Over::Full], "told once");
    drop(room);
    assert!(recorder.stop(soon()));
    let [(_, text)] = &files(temp.path())[..] else { panic!("one file") };
    assert!((45_000..=50_000).contains(&text.len()), "{}", text.len());
    same(text);
    assert_eq!(last(text), "{\"over\":\"full\"}");
}

#[test]
fn without_a_folder_nothing_is_started() {
    let config = RecorderConfig { folder: None, max_bytes: 1 };
    assert!(Recorder::start(&config).expect("nothing to fail").is_none());
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_at_the_start() {
    let temp = tempfile::tempdir().expect("folder");
    let file = temp.path().join("file");
    std::fs::write(&file, "x").expect("file");
    for folder in [file.clone(), file.join("below"), PathBuf::from("/proc/mgw")] {
        let config = RecorderConfig { folder: Some(folder.clone()), max_bytes: 1 << 20 };
        assert!(Recorder::start(&config).is_err(), "{}", folder.display());
    }
}

/// A device that is always full.
struct Full;

impl Place for Full {
    fn create(&self, _: &str) -> io::Result<Box<dyn Sheet>> {
        Ok(Box::new(std::fs::OpenOptions::new().write(true).open("/dev/full")?))
    }
}

#[test]
fn a_full_disk_ends_the_record_and_not_the_room() {
    let recorder = Recorder::with(Full, 1 << 20, QUEUE).expect("recorder");
    let mut room = TapedRoom::new(Some(&recorder), "r", 1);
    // Some pieces, so that the disk is tried.
    (1..100).for_each(|n| round(&mut room, n));
    let until = soon();
    let told = loop {
        if let Some(why) = room.record_trouble() {
            break why;
        }
        assert!(Instant::now() < until, "nobody is told");
        std::thread::yield_now();
    };
    assert_eq!(told, Over::Failed);
    for n in 100..200 {
        round(&mut room, n);
        assert_eq!(room.record_trouble(), None, "told once");
    }
    drop(room);
    assert!(recorder.stop(soon()));
}

/// A disk whose first file has room for so many bytes, as one that fills up has.
struct Nearly(u64, Arc<Mutex<Vec<u8>>>);

struct NearlySheet(u64, Arc<Mutex<Vec<u8>>>);

impl Place for Nearly {
    fn create(&self, _: &str) -> io::Result<Box<dyn Sheet>> {
        Ok(Box::new(NearlySheet(self.0, self.1.clone())))
    }
}

impl Write for NearlySheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.1.lock().expect("bytes");
        let n = bytes.len().min((self.0 - all.len() as u64) as usize);
        all.extend_from_slice(&bytes[..n]);
        if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sheet for NearlySheet {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.1.lock().expect("bytes").truncate(length as usize);
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_keeps_a_record_that_can_be_run() {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder::with(Nearly(30_000, bytes.clone()), 1 << 20, QUEUE).expect("recorder");
    let mut room = TapedRoom::new(Some(&recorder), "r", 1);
    (1..200).for_each(|n| round(&mut room, n));
    drop(room);
    assert!(recorder.stop(soon()));
    let text = String::from_utf8(bytes.lock().expect("bytes").clone()).expect("text");
    assert!(text.len() > 16_000, "{}", text.len());
    same(&text);
    assert_eq!(last(&text), "{\"over\":\"failed\"}");
}

/// A disk that takes nothing before it is allowed to.
struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

impl Place for Stuck {
    fn create(&self, _: &str) -> io::Result<Box<dyn Sheet>> {
        // Until its sender is gone.
        let _ = self.0.recv();
        Ok(Box::new(NearlySheet(u64::MAX, self.1.clone())))
    }
}

#[test]
fn a_disk_that_does_not_keep_up_ends_the_record_and_holds_up_nobody() {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (go, wait): (Sender<()>, _) = bounded(0);
    let recorder = Recorder::with(Stuck(wait, bytes.clone()), 1 << 30, 4).expect("recorder");
    let mut room = TapedRoom::new(Some(&recorder), "r", 1);
    let mut told = Vec::new();
    for n in 1..1000 {
        round(&mut room, n);
        told.extend(room.record_trouble());
    }
    assert_eq!(told, [Over::Slow], "told once");
    assert!(!recorder.stop(Instant::now()), "it still has to write");
    drop(room);
    drop(go);
    let until = soon();
    let text = loop {
        let text = String::from_utf8(bytes.lock().expect("bytes").clone()).expect("text");
        if text.contains("over") {
            break text;
        }
        assert!(Instant::now() < until, "the last line");
        std::thread::sleep(Duration::from_millis(5));
    };
    same(&text);
    assert_eq!(last(&text), "{\"over\":\"slow\"}");
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, text) in [
        (0, "19700101T000000Z"),
        (951_782_399, "20000228T235959Z"),
        (951_782_400, "20000229T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (4_107_542_400, "21000301T000000Z"),
        (1_767_225_599, "20251231T235959Z"),
    ] {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
    }
    assert_eq!(safe(""), "room");
    assert_eq!(safe(&"x".repeat(300)).len(), NAME);
}
