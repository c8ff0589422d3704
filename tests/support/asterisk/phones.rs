//! A second Asterisk as phones: real SIP and RTP, a file as the microphone, a recording of the ear.
//!
//! A phone never falls silent on the wire: behind what it says it sends silence, as telephones do. It costs about 0.7 %
//! of a core for each call. Where the machine is busy or every sample counts, take [`super::LightPhone`] instead.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Asterisk;
use super::manager::{self, Reply};

/// Sampling rate of what phones say and of their recordings, whatever codec is on the line.
pub const RATE: u32 = 16_000;

/// Codec of a call that a phone makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// L16/16000.
    L16,
    /// G.722, 16 kHz at 64 kbit/s.
    G722,
    /// G.711 mu-law, 8 kHz.
    Ulaw,
}

const CODECS: [Codec; 3] = [Codec::L16, Codec::G722, Codec::Ulaw];

impl Codec {
    /// Asterisk's name.
    pub fn name(self) -> &'static str {
        match self {
            Codec::L16 => "slin16",
            Codec::G722 => "g722",
            Codec::Ulaw => "ulaw",
        }
    }
}

/// Two phones, 1001 and 1002, registered at a gateway; each can be in many calls.
pub struct Phones {
    inner: Arc<Inner>,
}

struct Inner {
    asterisk: Asterisk,
    next: AtomicU32,
}

impl Phones {
    pub fn new(gateway: &Asterisk) -> Phones {
        let mut asterisk = Asterisk::prepare();
        let sound = asterisk.folder().join("sound");
        let rtp = asterisk.rtp_ports();
        asterisk.configure("rtp.conf", &format!("[general]\nrtpstart = {}\nrtpend = {}\n", rtp.start, rtp.end - 1));
        let general = format!("[general]\nenabled = yes\nbindaddr = 127.0.0.1\nport = {}\n", asterisk.manager_port());
        asterisk.configure("manager.conf", &(general + manager::CONF));
        asterisk.configure("modules.conf", "[modules]\nautoload = yes\n");
        asterisk.configure("pjsip.conf", &pjsip(gateway.sip_port(), asterisk.sip_port()));
        asterisk.configure("extensions.conf", &dialplan(&sound.display().to_string()));
        // What a phone sends while it has nothing to say: 200 ms of silence, again and again.
        fs::write(sound.join("silence.sln16"), vec![0; RATE as usize / 5 * 2]).expect("silence");
        asterisk.start();
        let phones = Phones { inner: Arc::new(Inner { asterisk, next: AtomicU32::new(1) }) };
        phones.wait_registered();
        phones
    }

    /// Waits until both phones are registered, so that the gateway can call them; after its restart they need up to 20 s.
    pub fn wait_registered(&self) {
        let begin = Instant::now();
        loop {
            let text = self.inner.asterisk.rx("pjsip show registrations");
            if text.matches(" Registered ").count() == 2 {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "the phones are not registered:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Phone 1001 dials an extension of the gateway; once it is answered it says `say` (16 kHz), then silence.
    pub fn call(&self, extension: &str, codec: Codec, say: &[i16]) -> PhoneCall {
        self.call_from("1001", extension, codec, say)
    }

    /// The same from the phone `from`, 1001 or 1002.
    pub fn call_from(&self, from: &str, extension: &str, codec: Codec, say: &[i16]) -> PhoneCall {
        let call = self.new_call(say);
        let channel = format!("PJSIP/{extension}@{from}-{}", codec.name());
        let fields = [
            ("Channel", channel.as_str()),
            ("Context", "speak"),
            ("Exten", &call.id),
            ("Priority", "1"),
            ("ChannelId", &call.id),
            ("Async", "true"),
            ("Timeout", "60000"),
        ];
        let reply = self.inner.action("Originate", &fields);
        assert_eq!(reply["Response"], "Success", "{reply:?}");
        call
    }

    /// The next call that comes in for a phone, 1001 or 1002, is answered and hears `say`. Calls that nobody waits for
    /// are told that the phone is busy.
    pub fn answer(&self, phone: &str, say: &[i16]) -> PhoneCall {
        let call = self.new_call(say);
        self.inner.asterisk.rx(&format!("database put answer {phone} {}", call.id));
        call
    }

    /// The phones' own Asterisk: its log, its processor time.
    pub fn asterisk(&self) -> &Asterisk {
        &self.inner.asterisk
    }

    fn new_call(&self, say: &[i16]) -> PhoneCall {
        let id = (100_000 + self.inner.next.fetch_add(1, Relaxed)).to_string();
        let call = PhoneCall { inner: self.inner.clone(), id, said: AtomicU32::new(0) };
        call.say(say);
        call
    }
}

impl Inner {
    fn action(&self, name: &str, fields: &[(&str, &str)]) -> Reply {
        manager::action(self.asterisk.manager_port(), name, fields)
    }

    /// A variable of a channel, or a global one; none when there is no such channel or variable.
    fn variable(&self, channel: Option<&str>, name: &str) -> Option<String> {
        let mut fields = vec![("Variable", name)];
        fields.extend(channel.map(|c| ("Channel", c)));
        self.action("Getvar", &fields).remove("Value").filter(|value| !value.is_empty())
    }
}

/// One phone's side of a call; hung up when dropped.
pub struct PhoneCall {
    inner: Arc<Inner>,
    id: String,
    /// How many pieces of speech it was given.
    said: AtomicU32,
}

impl PhoneCall {
    /// Says more, behind what it still has to say; it begins within 200 ms.
    pub fn say(&self, samples: &[i16]) {
        let n = self.said.fetch_add(1, Relaxed) + 1;
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        // Under its name only when it is whole: the phone looks for it while it is in the call.
        let partial = self.file("partial");
        fs::write(&partial, bytes).expect("speech file");
        fs::rename(&partial, self.file(&n.to_string())).expect("speech file");
    }

    fn file(&self, what: &str) -> PathBuf {
        self.inner.asterisk.folder().join("sound").join(format!("{}-{what}.sln16", self.id))
    }

    /// Unique id of its channel; a call that comes in has none before it is answered.
    fn channel(&self) -> Option<String> {
        let incoming = self.inner.variable(None, &format!("CALL_{}", self.id));
        incoming.or_else(|| {
            let reply = self.inner.action("Status", &[("Channel", &self.id)]);
            (reply["Response"] == "Success").then(|| self.id.clone())
        })
    }

    /// It was answered and nobody has hung up.
    pub fn is_up(&self) -> bool {
        let Some(channel) = self.channel() else { return false };
        let status = self.inner.action("Status", &[("Channel", &channel)]);
        status.get("ChannelStateDesc").is_some_and(|s| s == "Up")
    }

    /// Its channel exists no more (or not yet).
    pub fn is_gone(&self) -> bool {
        self.channel().is_none_or(|c| self.inner.action("Status", &[("Channel", &c)])["Response"] != "Success")
    }

    pub fn wait_up(&self) {
        self.wait("an answer", || self.is_up());
    }

    /// Waits until the other side has hung up.
    pub fn wait_gone(&self) {
        self.wait("the end of the call", || self.is_gone());
    }

    /// Everything that it was given was said.
    pub fn has_said_all(&self) -> bool {
        let said = self.channel().and_then(|c| self.inner.variable(Some(&c), "SAID"));
        said.is_some_and(|n| n == self.said.load(Relaxed).to_string())
    }

    pub fn wait_said_all(&self) {
        self.wait("the end of what the phone says", || self.has_said_all());
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(120), "call {}: waited 120 s for {what}", self.id);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys, as telephone events of 200 ms.
    pub fn send_dtmf(&self, keys: &str) {
        let channel = self.channel().expect("a call");
        for key in keys.chars() {
            let reply = self
                .inner
                .action("PlayDTMF", &[("Channel", &channel), ("Digit", &key.to_string()), ("Duration", "200")]);
            assert_eq!(reply["Response"], "Success", "{reply:?}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Keys that the other side has pressed, in order.
    pub fn dtmf(&self) -> String {
        let Some(channel) = self.channel() else { return String::new() };
        let status = self.inner.action("Status", &[("Channel", &channel)]);
        let Some(name) = status.get("Channel") else { return String::new() };
        let tail = format!("received on {name}, duration");
        let log = self.inner.asterisk.log();
        let ends = log.lines().filter(|line| line.contains("DTMF end '") && line.contains(&tail));
        ends.filter_map(|line| line.split('\'').nth(1)).collect()
    }

    /// Hangs up (nothing, if the other side has) and returns what was heard.
    pub fn hang_up(&self) -> Vec<i16> {
        if let Some(channel) = self.channel() {
            self.inner.action("Hangup", &[("Channel", &channel)]);
        }
        self.recorded()
    }

    /// What was heard since the answer, as 16 kHz samples. While the call is up the last second may not be there yet.
    pub fn heard(&self) -> Vec<i16> {
        read(&self.file("heard"))
    }

    /// What was said, on the same time line.
    pub fn said(&self) -> Vec<i16> {
        read(&self.file("said"))
    }

    /// Waits until the recordings of an ended call are whole; nothing was heard if it was never answered.
    pub fn recorded(&self) -> Vec<i16> {
        self.wait_gone();
        if self.file("heard").exists() {
            self.wait("its recording", || self.file("done").exists());
        }
        self.heard()
    }
}

impl Drop for PhoneCall {
    fn drop(&mut self) {
        // Not while the test fails already: the phones may be what is broken.
        if !std::thread::panicking()
            && let Some(channel) = self.channel()
        {
            self.inner.action("Hangup", &[("Channel", &channel)]);
        }
    }
}

fn read(path: &PathBuf) -> Vec<i16> {
    let bytes = fs::read(path).unwrap_or_default();
    bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

fn pjsip(gateway: u16, own: u16) -> String {
    let mut text = format!(
        "[transport]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:{own}\n\
         [gateway]\ntype = aor\ncontact = sip:127.0.0.1:{gateway}\n\
         [line](!)\ntype = endpoint\ntransport = transport\ncontext = incoming\naors = gateway\ndisallow = all\n\
         media_address = 127.0.0.1\nbind_rtp_to_media_address = yes\ndirect_media = no\ndtmf_mode = rfc4733\n"
    );
    for phone in ["1001", "1002"] {
        text += &format!(
            "[{phone}]\ntype = auth\nauth_type = digest\nusername = {phone}\npassword = change-me-{phone}\n\
             [{phone}]\ntype = registration\ntransport = transport\noutbound_auth = {phone}\n\
             server_uri = sip:127.0.0.1:{gateway}\nclient_uri = sip:{phone}@127.0.0.1:{gateway}\n\
             contact_user = {phone}\nline = yes\nendpoint = {phone}-in\nretry_interval = 5\n\
             max_random_initial_delay = 0\nforbidden_retry_interval = 5\nfatal_retry_interval = 5\nmax_retries = 1000\n\
             [{phone}-in](line)\nallow = slin16,g722,ulaw\n"
        );
        for codec in CODECS {
            let name = codec.name();
            text += &format!("[{phone}-{name}](line)\nallow = {name}\noutbound_auth = {phone}\nfrom_user = {phone}\n");
        }
    }
    text
}

/// `speak` is one call: its extension is the call's number. Pieces of speech are files that may appear at any time.
fn dialplan(sound: &str) -> String {
    format!(
        "[incoming]\n\
         exten => _X.,1,Set(ID=${{DB_DELETE(answer/${{EXTEN}})}})\n\
         \x20same => n,GotoIf($[\"${{ID}}\" = \"\"]?busy)\n\
         \x20same => n,Answer()\n\
         \x20same => n,Set(GLOBAL(CALL_${{ID}})=${{UNIQUEID}})\n\
         \x20same => n,Goto(speak,${{ID}},1)\n\
         \x20same => n(busy),Busy()\n\
         [speak]\n\
         exten => _X.,1,MixMonitor(,r({sound}/${{EXTEN}}-heard.sln16)t({sound}/${{EXTEN}}-said.sln16),\
         touch {sound}/${{EXTEN}}-done.sln16)\n\
         \x20same => n,Set(NEXT=1)\n\
         \x20same => n(look),GotoIf(${{STAT(e,{sound}/${{EXTEN}}-${{NEXT}}.sln16)}}?say)\n\
         \x20same => n,Playback({sound}/silence)\n\
         \x20same => n,Goto(look)\n\
         \x20same => n(say),Playback({sound}/${{EXTEN}}-${{NEXT}})\n\
         \x20same => n,Set(SAID=${{NEXT}})\n\
         \x20same => n,Set(NEXT=$[${{NEXT}} + 1])\n\
         \x20same => n,Goto(look)\n"
    )
}

/// The words that were heard, all of one language, whole; panics at others.
pub fn words(heard: &[i16], language: &str) -> Vec<u16> {
    let report = super::super::leg::hear(heard, RATE);
    assert_eq!(report.damaged, 0, "damaged words: {:?}", report.words);
    assert!(report.words.iter().all(|(l, _)| *l == language), "words of another language: {:?}", report.words);
    report.words.iter().map(|(_, n)| *n).collect()
}
