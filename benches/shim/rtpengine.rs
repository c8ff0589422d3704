//! rtpengine in user space as a process, and its control protocol: bencode over UDP.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running rtpengine, ended when dropped.
pub struct Rtpengine {
    child: Child,
    control: UdpSocket,
    cookie: u64,
}

/// What `rtpengine --version` says.
pub fn version() -> Result<String, String> {
    let output = Command::new("rtpengine").arg("--version").output();
    let output = output.map_err(|e| format!("rtpengine cannot be run ({e}): scripts/setup.sh bench installs it"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

impl Rtpengine {
    /// Starts it without its kernel module and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> Result<Rtpengine, String> {
        version()?;
        let control = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        // A port that was free a moment ago; rtpengine wants to be told one.
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.local_addr()).map_err(|e| e.to_string())?;
        control.connect(free).map_err(|e| e.to_string())?;
        control.set_read_timeout(Some(Duration::from_millis(500))).map_err(|e| e.to_string())?;
        let log = crate::support::temp_file("rtpengine.log");
        let file = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--table=-1", "--interface=127.0.0.1", "--foreground", "--log-stderr"])
            .args(["--log-level=4", "--port-min=12000", "--port-max=29999", &format!("--listen-ng={free}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|e| format!("rtpengine does not start: {e}"))?;
        let mut engine = Rtpengine { child, control, cookie: 0 };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if engine.ask(&[("command", "ping")]).is_ok_and(|reply| reply.contains("4:pong")) {
                return Ok(engine);
            }
            let ended = engine.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || Instant::now() > until {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("rtpengine does not answer: {}", log.trim()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sets a call up between two phones; returns where each has to send.
    ///
    /// # Errors
    /// What rtpengine says.
    pub fn call(&mut self, id: &str, phones: [SocketAddr; 2]) -> Result<[SocketAddr; 2], String> {
        let session = |phone: SocketAddr| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n",
                ip = phone.ip(),
                port = phone.port()
            )
        };
        let (offer, answer) = (session(phones[0]), session(phones[1]));
        let tags = [("call-id", id), ("from-tag", "a")];
        let second = self.ask(&[&tags[..], &[("command", "offer"), ("sdp", &offer)]].concat())?;
        let first = self.ask(&[&tags[..], &[("to-tag", "b"), ("command", "answer"), ("sdp", &answer)]].concat())?;
        Ok([media(&first)?, media(&second)?])
    }

    /// One request and its reply, both dictionaries in bencode.
    fn ask(&mut self, entries: &[(&str, &str)]) -> Result<String, String> {
        self.cookie += 1;
        let cookie = format!("{}_{} ", std::process::id(), self.cookie);
        // Keys of a dictionary are sorted.
        let mut entries = entries.to_vec();
        entries.sort_unstable();
        let text = |s: &str| format!("{}:{s}", s.len());
        let body: String = entries.iter().map(|(key, value)| text(key) + &text(value)).collect();
        self.control.send(format!("{cookie}d{body}e").as_bytes()).map_err(|e| e.to_string())?;
        let mut buffer = [0; 4096];
        loop {
            let length = self.control.recv(&mut buffer).map_err(|e| e.to_string())?;
            let reply = String::from_utf8_lossy(&buffer[..length]);
            if let Some(reply) = reply.strip_prefix(&cookie) {
                let refused = reply.contains("6:result5:error");
                return if refused { Err(format!("rtpengine refuses: {reply}")) } else { Ok(reply.to_owned()) };
            }
        }
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a session description wants its audio.
fn media(reply: &str) -> Result<SocketAddr, String> {
    let port = reply.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|p| p.parse().ok());
    port.map(|port: u16| (Ipv4Addr::LOCALHOST, port).into()).ok_or(format!("no port in {reply:?}"))
}
