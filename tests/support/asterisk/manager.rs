//! The manager interface (AMI), one connection for each action: the phones are told what to do by it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CONF: &str = "[lab]\nsecret = lab\nread = all\nwrite = all\n";

/// Name and value of each line of a reply.
pub type Reply = HashMap<String, String>;

/// Does an action and returns its response; for a list, the first entry's fields are added to it.
pub fn action(port: u16, name: &str, fields: &[(&str, &str)]) -> Reply {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the phones' manager interface");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
    let mut reader = BufReader::new(socket.try_clone().expect("socket"));
    let mut greeting = String::new();
    reader.read_line(&mut greeting).expect("greeting");
    send(&mut socket, "Login", &[("Username", "lab"), ("Secret", "lab"), ("Events", "off")]);
    assert_eq!(response(&mut reader)["Response"], "Success", "login");
    send(&mut socket, name, fields);
    let mut reply = response(&mut reader);
    if reply.get("EventList").is_some_and(|v| v == "start") {
        let mut entries = Vec::new();
        loop {
            let entry = block(&mut reader);
            if entry.get("EventList").is_some_and(|v| v == "Complete") {
                break;
            }
            entries.push(entry);
        }
        reply.extend(entries.into_iter().next().unwrap_or_default());
    }
    reply
}

fn send(socket: &mut TcpStream, name: &str, fields: &[(&str, &str)]) {
    let mut text = format!("Action: {name}\r\n");
    for (key, value) in fields {
        text += &format!("{key}: {value}\r\n");
    }
    text += "\r\n";
    socket.write_all(text.as_bytes()).expect("action");
}

fn response(reader: &mut impl BufRead) -> Reply {
    loop {
        let reply = block(reader);
        if reply.contains_key("Response") {
            return reply;
        }
    }
}

fn block(reader: &mut impl BufRead) -> Reply {
    let mut reply = Reply::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("a reply") > 0, "the manager interface has closed");
        let line = line.trim_end();
        if line.is_empty() {
            return reply;
        }
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        reply.insert(key.to_owned(), value.trim_start().to_owned());
    }
}

/// Events of the manager interface as they come, until it is dropped.
pub struct Listener {
    events: Arc<Mutex<Vec<Reply>>>,
    socket: TcpStream,
}

impl Listener {
    pub fn start(port: u16) -> Listener {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the manager interface");
        let mut reader = BufReader::new(socket.try_clone().expect("socket"));
        reader.read_line(&mut String::new()).expect("greeting");
        send(&mut socket, "Login", &[("Username", "lab"), ("Secret", "lab"), ("Events", "on")]);
        assert_eq!(response(&mut reader)["Response"], "Success", "login");
        let events = Arc::new(Mutex::new(Vec::new()));
        let shared = events.clone();
        std::thread::spawn(move || {
            while let Some(event) = next(&mut reader) {
                shared.lock().expect("events").push(event);
            }
        });
        Listener { events, socket }
    }

    /// Those of one kind so far.
    pub fn events(&self, name: &str) -> Vec<Reply> {
        let all = self.events.lock().expect("events");
        all.iter().filter(|e| e.get("Event").is_some_and(|n| n == name)).cloned().collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The next block; none when the connection has ended.
fn next(reader: &mut impl BufRead) -> Option<Reply> {
    let mut reply = Reply::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(reply);
        }
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        reply.insert(key.to_owned(), value.trim_start().to_owned());
    }
}
