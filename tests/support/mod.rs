//! What the tests share: the local cloud as a process, coded speech, legs that push and pull in real time, and a real
//! Asterisk with phones.
#![allow(dead_code, missing_docs)]

pub mod asterisk;
#[path = "../../src/bin/mgw-local-cloud/coded/codec.rs"]
pub mod codec;
pub mod leg;
pub mod live;
#[cfg(feature = "rtp-shim")]
pub mod phone;
pub mod schema;
#[cfg(feature = "rtp-shim")]
pub mod shim;
pub mod text;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::{Gateway, NextEvent};
use serde_json::Value;

/// The local cloud, ended when dropped (its standard input closes even if the test is killed).
pub struct Cloud {
    child: Child,
    pub address: SocketAddr,
    /// PEM file of the test authority, if it speaks TLS.
    ca: Option<PathBuf>,
}

impl Cloud {
    pub fn start(scenario: &str) -> Cloud {
        Cloud::start_with(scenario, &[])
    }

    /// With TLS by a test authority, which [`Cloud::config`] makes the gateway trust.
    pub fn start_tls(scenario: &str) -> Cloud {
        Cloud::start_tls_with(scenario, &[])
    }

    pub fn start_tls_with(scenario: &str, more: &[&str]) -> Cloud {
        let ca = temp_file("ca.pem");
        let args = [&["--tls", "--ca-out", ca.to_str().expect("UTF-8")], more].concat();
        let mut cloud = Cloud::start_with(scenario, &args);
        cloud.ca = Some(ca);
        cloud
    }

    /// PEM file of its test authority, if it speaks TLS.
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.ca.as_deref()
    }

    pub fn start_with(scenario: &str, more: &[&str]) -> Cloud {
        let file = temp_file("scenario.toml");
        std::fs::write(&file, scenario).expect("scenario file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud"))
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-parent", "--scenario"])
            .arg(&file)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mgw-local-cloud starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("first line");
        let address =
            line.split_whitespace().find_map(|w| w.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"));
        Cloud { child, address, ca: None }
    }

    /// A configuration that points all three vendors at this cloud, with profiles 7777 (en) and 8888 (es).
    pub fn config(&self, more: &[(&str, &str)]) -> Config {
        let mut config = Config::new();
        let http = format!("{}://{}", if self.ca.is_some() { "https" } else { "http" }, self.address);
        for (key, value) in [
            ("deepgram.base_url", http.as_str()),
            ("deepl.base_url", &http),
            ("elevenlabs.base_url", &http),
            ("deepgram.api_key", "dg-test-key"),
            ("deepl.api_key", "dl-test-key"),
            ("elevenlabs.api_key", "el-test-key"),
            ("profile.7777.language", "en"),
            ("profile.8888.language", "es"),
        ] {
            config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
        }
        if let Some(ca) = &self.ca {
            config.set("tls.ca_file", ca.to_str().expect("UTF-8")).unwrap_or_else(|e| panic!("{e}"));
        }
        for (key, value) in more {
            config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
        }
        config
    }

    /// The cloud's own log of what really arrived.
    pub fn stats(&self) -> Value {
        let body = self.ask("GET", "/__stats", "");
        // A chunked body has sizes between its parts; the JSON is one object either way.
        let json = &body[body.find('{').expect("object")..=body.rfind('}').expect("object")];
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))
    }

    /// Counts from zero again.
    pub fn reset_stats(&self) {
        self.ask("DELETE", "/__stats", "");
    }

    /// Puts another scenario in force; its faults count from 1.
    pub fn set_scenario(&self, scenario: &str) {
        self.ask("PUT", "/__scenario", scenario);
    }

    /// Resets every connection that is open, at once; the cloud lives on.
    pub fn drop_all(&self) {
        self.ask("DELETE", "/__connections", "");
    }

    /// A plain HTTP request to a control path (of a TLS cloud, too); returns the body of the reply, which must be a
    /// success.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(self.address).expect("local cloud");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).expect("request");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut socket, &mut text).expect("reply");
        let status = text.split_whitespace().nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {path}: {text}");
        text[text.find("\r\n\r\n").expect("end of the head")..].to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path of its own below cargo's folder for test files.
pub fn temp_file(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder for test files");
    folder.join(name)
}

/// Everything a gateway has to tell, as JSON.
pub fn events(gateway: &Gateway) -> Vec<Value> {
    let mut buf = vec![0; 1024];
    let mut all = Vec::new();
    loop {
        match gateway.next_event(&mut buf) {
            Ok(n) => all.push(serde_json::from_slice(&buf[..n]).expect("an event is JSON")),
            Err(NextEvent::TooShort(n)) => buf.resize(n, 0),
            Err(NextEvent::Empty) => return all,
        }
    }
}

/// Waits for a condition, generously; panics with `what` when it never comes. A look that costs much, such as decoding a
/// recording, is not taken again at once: the machine belongs to what is tested.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    loop {
        let look = Instant::now();
        if condition() {
            return;
        }
        assert!(Instant::now() < until, "waited {limit:?} for {what}");
        let rest = 4 * look.elapsed();
        std::thread::sleep(rest.clamp(Duration::from_millis(10), Duration::from_secs(1)));
    }
}

/// Processor time that a process has used so far, user and system.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // Fields 14 and 15 (proc(5)) counted behind the name, which may hold spaces; 100 ticks a second on Linux.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("name")..].split_whitespace().collect();
    let ticks: u64 = [fields[12], fields[13]].iter().map(|f| f.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Sends a signal, by the shell's own kill: a program of that name is not on every machine.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().expect("sh");
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Threads of this process by name, and open descriptors.
pub fn threads() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/proc/self/task")
        .expect("tasks")
        .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok())
        .map(|n| n.trim().to_owned())
        .collect();
    names.sort();
    names
}

pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("descriptors").count()
}
