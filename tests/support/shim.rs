//! The shim as a process, and its control interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Cloud, temp_file, wait_for};

pub const TOKEN: &str = "shim-test-token";

/// A running shim, ended when dropped (its standard input closes even if the test is killed).
pub struct Shim {
    child: Child,
    pub control: SocketAddr,
    pub audiosocket: Option<SocketAddr>,
    pub config: PathBuf,
    pub log: PathBuf,
}

/// The file of a shim that uses this cloud, with what `more` says behind it.
pub fn config(cloud: &Cloud, ports: [u16; 2], more: &str) -> PathBuf {
    let file = temp_file("mgw.toml");
    let http = format!("http://{}", cloud.address);
    let [first, last] = ports;
    let ari = if more.contains("[shim.ari]") { "" } else { "[shim.ari]\nenabled = false\n" };
    let text = format!(
        "deepgram.base_url = \"{http}\"\ndeepl.base_url = \"{http}\"\nelevenlabs.base_url = \"{http}\"\n\
         deepgram.api_key = \"dg-test-key\"\ndeepl.api_key = \"dl-test-key\"\nelevenlabs.api_key = \"el-test-key\"\n\
         [profile.7777]\nlanguage = \"en\"\n[profile.8888]\nlanguage = \"es\"\n\
         [shim.http]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
         [shim.audiosocket]\nlisten = \"127.0.0.1:0\"\n\
         [shim.rtp]\nports = [{first}, {last}]\n{ari}{more}"
    );
    std::fs::write(&file, text).expect("configuration");
    file
}

impl Shim {
    /// Starts a shim and waits until it listens.
    pub fn start(config: PathBuf) -> Shim {
        let log = config.with_extension("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mgw-rtp-shim"))
            .args(["serve", "--exit-with-parent", "--config"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("log"))
            .spawn()
            .expect("mgw-rtp-shim starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("first line");
        let addresses: Vec<SocketAddr> =
            line.split_whitespace().filter_map(|w| w.trim_end_matches(',').parse().ok()).collect();
        let control = *addresses.first().unwrap_or_else(|| {
            panic!("no address in {line:?}:\n{}", std::fs::read_to_string(&log).unwrap_or_default())
        });
        Shim { child, control, audiosocket: addresses.get(1).copied(), config, log }
    }

    /// Status and body of a request to the control interface.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>, token: Option<&str>) -> (u16, String) {
        let mut socket = TcpStream::connect(self.control).expect("control interface");
        socket.set_read_timeout(Some(Duration::from_secs(90))).expect("timeout");
        let body = body.map(Value::to_string).unwrap_or_default();
        let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {token}Content-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).expect("request");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("reply");
        let status = text.split_whitespace().nth(1).and_then(|s| s.parse().ok()).expect("status");
        (status, text[text.find("\r\n\r\n").expect("end of the head") + 4..].to_owned())
    }

    /// A request that changes something and must succeed.
    pub fn change(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, text) = self.ask(method, path, Some(&body), Some(TOKEN));
        assert_eq!(status, 200, "{method} {path} {body}: {text}\n{}", self.log());
        serde_json::from_str(&text).expect("JSON")
    }

    /// The legs that `/calls` lists.
    pub fn calls(&self) -> Vec<Value> {
        let (status, text) = self.ask("GET", "/calls", None, None);
        assert_eq!(status, 200, "{text}");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        body["calls"].as_array().expect("list").clone()
    }

    /// Waits until so many legs are listed. A phone is answered before its channels are put together, so what it says
    /// at once may be lost; a leg is listed when it is in its room and connected.
    pub fn wait_calls(&self, count: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let calls = self.calls();
            if calls.len() == count {
                return;
            }
            assert!(Instant::now() < until, "waited 60 s for {count} legs, there are {}: {calls:#?}", calls.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A value of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("GET", "/metrics", None, None);
        let line = text.lines().find_map(|l| l.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim().parse().expect("number")
    }

    /// Opens an RTP leg for a peer; returns its id and where to send.
    pub fn open_leg(&self, extension: &str, peer: SocketAddr, room: Option<&str>) -> (String, SocketAddr) {
        let leg = self.change("POST", "/legs", json!({ "extension": extension, "peer": peer, "room": room }));
        let text = |key: &str| leg[key].as_str().expect("text").to_owned();
        (text("id"), text("address").parse().expect("address"))
    }

    /// Whether `/ready` says yes.
    pub fn is_ready(&self) -> bool {
        self.ask("GET", "/ready", None, None).0 == 200
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a chance to clean up.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("kill");
        self.child.wait().expect("end");
        self.config.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        super::signal(name, self.pid());
    }

    /// Waits until it has ended; whether it ended well.
    pub fn wait_end(mut self, limit: Duration) -> bool {
        let mut end = None;
        wait_for("the shim to stop", limit, || {
            end = self.child.try_wait().expect("state");
            end.is_some()
        });
        end.is_some_and(|status| status.success())
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- log of the shim\n{}", self.log());
        }
    }
}
