//! Asterisk: ARI, modules, and a tone through two external media channels, there and back.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgw::telephony::codec::Codec;
use mgw::telephony::outgoing::{Outgoing, Send};
use mgw::telephony::rtp::{Packet, Stream};
use tokio::time::sleep;

use super::Report;
use super::probe::{Form, TONE_DBFS, levels, tone};
use crate::ari::rest::{Error, Reason, Rest};
use crate::media::{Guard, Ports};
use crate::settings::{Ari, Settings};

/// What a call needs, and what it is for.
const MODULES: [(&str, &str, bool); 7] = [
    ("res_stasis.so", "ARI's applications", true),
    ("app_stasis.so", "Stasis() in the dialplan", true),
    ("chan_rtp.so", "ExternalMedia", true),
    ("res_rtp_asterisk.so", "RTP", true),
    ("codec_g722.so", "wide-band sound to callers", false),
    ("res_audiosocket.so", "AudioSocket (7000 and 7001)", false),
    ("app_audiosocket.so", "AudioSocket() in the dialplan", false),
];
/// How the names of our channels and bridges begin; the shim sweeps others.
const MARK: &str = "mgwdoctor-";
/// Length of the tone each way.
const FRAMES: usize = 50;
/// What a tone may be fainter than all that is heard; one of swapped bytes is 2.5 dB fainter.
const PURE_DB: f64 = 1.0;
/// What may differ of the level.
const TOLERANCE_DB: f64 = 3.0;

pub async fn examine(settings: &Settings, report: &mut Report) {
    let Some(ari) = &settings.ari else {
        return report.doubtful("ARI is off", "set shim.ari.enabled = true for 7777 and 8888");
    };
    // An application of its own: a running shim keeps its calls.
    let own = Ari { app: format!("{}-doctor", ari.app), ..ari.clone() };
    let rest = match Rest::new(&own, Arc::default()) {
        Ok(rest) => rest,
        Err(why) => return report.bad(why, "see the message"),
    };
    match rest.version().await {
        Ok(version) => report.good(format!("ARI at {}: Asterisk {version}", ari.url)),
        Err(e) => return report.bad(e.to_string(), fix_of(&e)),
    }
    match rest.app_exists(&ari.app).await {
        Ok(true) => report.good(format!("Stasis application {} is known to Asterisk", ari.app)),
        Ok(false) => report.doubtful(
            format!("Stasis application {} is not known to Asterisk: callers get STASISSTATUS=FAILED", ari.app),
            "start the shim (systemctl start mgw-rtp-shim)",
        ),
        Err(e) => report.bad(e.to_string(), fix_of(&e)),
    }
    for (module, purpose, needed) in MODULES {
        match rest.module_runs(module).await {
            Ok(true) => {}
            Ok(false) | Err(Error::NotFound(_)) => {
                let (what, fix) = (
                    format!("Asterisk has not loaded {module}, which is for {purpose}"),
                    format!("asterisk -rx 'module load {module}', and see modules.conf"),
                );
                if needed { report.bad(what, fix) } else { report.doubtful(what, fix) }
            }
            Err(e) => return report.bad(e.to_string(), fix_of(&e)),
        }
    }
    sweep(&rest).await;
    // Registers the application as long as it is open: one for all, because the end of one may take the application from
    // the next (see the shim's link).
    let events = match rest.events().await {
        Ok(events) => events,
        Err(e) => return report.bad(format!("no events: {e}"), fix_of(&e)),
    };
    let mut tried: Vec<(Codec, Send)> = Vec::new();
    for extension in settings.extensions.values() {
        let pair = (extension.codec, extension.send);
        if !tried.contains(&pair) {
            tried.push(pair);
            round_trip(settings, &rest, pair, report).await;
        }
    }
    drop(events);
}

/// Removes what a doctor that was interrupted has left.
async fn sweep(rest: &Rest) {
    for channel in rest.channels().await.unwrap_or_default().iter().filter(|c| c.id.starts_with(MARK)) {
        let _ = rest.hang_up(&channel.id, Reason::Normal).await;
    }
    for bridge in rest.bridges().await.unwrap_or_default().iter().filter(|b| b.id.starts_with(MARK)) {
        let _ = rest.destroy_bridge(&bridge.id).await;
    }
}

fn fix_of(error: &Error) -> String {
    match error {
        Error::Unauthorised(_) => "see the message; asterisk -rx 'ari show users' lists the users",
        Error::Unreachable(_) => "start Asterisk; http.conf: enabled = yes, bindaddr = 127.0.0.1; shim.ari.url",
        Error::Timeout(_) => "Asterisk hangs or is overloaded: asterisk -rx 'core show uptime', top",
        Error::NotFound(_) | Error::Garbage(_) => "correct shim.ari.url; ari.conf: enabled = yes",
        Error::Refused { .. } => "see Asterisk's log (/var/log/asterisk/messages)",
    }
    .to_owned()
}

/// One end of the bridge.
struct End {
    channel: String,
    socket: UdpSocket,
    guard: Guard,
}

async fn round_trip(settings: &Settings, rest: &Rest, (codec, send): (Codec, Send), report: &mut Report) {
    let name = format!("ExternalMedia {}", codec.format());
    let bridge = format!("{MARK}{}", uuid::Uuid::new_v4().simple());
    let mut channels = Vec::new();
    let outcome = try_round_trip(settings, rest, codec, send, &bridge, &mut channels, &name, report).await;
    for channel in &channels {
        let _ = rest.hang_up(channel, Reason::Normal).await;
    }
    let _ = rest.destroy_bridge(&bridge).await;
    if let Err((what, fix)) = outcome {
        report.bad(format!("{name}: {what}"), fix);
    }
}

type Trouble = (String, String);

#[allow(clippy::too_many_arguments)]
async fn try_round_trip(
    settings: &Settings,
    rest: &Rest,
    codec: Codec,
    send: Send,
    bridge: &str,
    channels: &mut Vec<String>,
    name: &str,
    report: &mut Report,
) -> Result<(), Trouble> {
    let ari = |e: Error| (e.to_string(), fix_of(&e));
    rest.create_bridge(bridge).await.map_err(ari)?;
    // The far end stands for a caller; it speaks ulaw, which every Asterisk takes.
    let far = end(settings, rest, bridge, "far", Codec::Pcmu, channels).await?;
    let near = end(settings, rest, bridge, "near", codec, channels).await?;
    // Asterisk puts a channel into its application a moment after it has told of it.
    let mut tries = 0;
    while let Err(e) = rest.add_channels(bridge, &[&far.channel, &near.channel]).await {
        tries += 1;
        if !matches!(e, Error::Refused { status: 409 | 422, .. }) || tries > 40 {
            return Err(ari(e));
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(100)).await;

    let (far, mut near, there) = tokio::task::spawn_blocking(move || {
        let heard = speak_and_hear(&far.socket, Send::Plain(Codec::Pcmu), &near.socket, codec);
        (far, near, heard)
    })
    .await
    .map_err(|e| (e.to_string(), "this is a bug of the doctor".to_owned()))?;
    judge_there(codec, &there, near.guard.count(), name, report)?;
    let back = tokio::task::spawn_blocking(move || speak_and_hear(&near.socket, send, &far.socket, Codec::Pcmu))
        .await
        .map_err(|e| (e.to_string(), "this is a bug of the doctor".to_owned()))?;
    judge_back(send, &back, name, report)
}

async fn end(
    settings: &Settings,
    rest: &Rest,
    bridge: &str,
    name: &str,
    codec: Codec,
    channels: &mut Vec<String>,
) -> Result<End, Trouble> {
    let port = Ports::new(settings.rtp.bind, settings.rtp.ports, false)
        .reserve(None)
        .map_err(|e| (e.to_string(), "choose another range in shim.rtp.ports".to_owned()))?;
    let channel = format!("{bridge}-{name}");
    // Before it is asked for: an answer that comes too late must not leave it behind.
    channels.push(channel.clone());
    let peer =
        rest.external_media(&channel, port.address, codec.format()).await.map_err(|e| (e.to_string(), fix_of(&e)))?;
    let connected = port.connect(peer).map_err(|e| {
        (format!("no way to {peer}, where Asterisk listens: {e}"), "shim.rtp.bind must reach Asterisk's address".into())
    })?;
    Ok(End { channel, socket: connected.rtp, guard: connected.guard })
}

/// What came out at the other end.
struct Heard {
    form: Form,
    level: f64,
    tone: f64,
}

fn speak_and_hear(from: &UdpSocket, send: Send, to: &UdpSocket, codec: Codec) -> Heard {
    let mut outgoing = Outgoing::new(send);
    let mut stream = Stream::new(rand::random(), rand::random(), rand::random());
    let hz = send.hz();
    let (frame, step) = (hz as usize / 50, outgoing.step());
    let (mut packet, mut samples, mut form) = (Vec::new(), Vec::new(), Form::default());
    let mut buf = [0; 4096];
    let begin = Instant::now();
    // A little longer than the tone, for what is on its way.
    for n in 0..FRAMES + 10 {
        let voice = if n < FRAMES { tone(hz, n * frame, frame) } else { vec![0; frame] };
        let kind = outgoing.payload_type();
        stream.write(&mut packet, kind, n == 0, step, |out| outgoing.encode(&voice, out));
        let _ = from.send(&packet);
        std::thread::sleep(
            (begin + Duration::from_millis(20) * (n as u32 + 1)).saturating_duration_since(Instant::now()),
        );
        while let Ok(length) = to.recv(&mut buf) {
            if let Ok(packet) = Packet::parse(&buf[..length]) {
                form.take(&packet);
                let _ = codec.decode(packet.payload, &mut samples);
            }
        }
        // What the other way brings is not asked for here.
        while from.recv(&mut buf).is_ok() {}
    }
    // Its best half second: not its beginning, nor what came before and behind it, nor where the machine was late.
    let half = codec.hz() as usize / 2;
    let best = samples.chunks(half / 5).collect::<Vec<_>>();
    let (tone, level) = best
        .windows(5)
        .map(|w| levels(&w.concat(), codec.hz()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((-96.0, -96.0));
    Heard { form, level, tone }
}

fn judge_there(codec: Codec, heard: &Heard, strangers: u64, name: &str, report: &mut Report) -> Result<(), Trouble> {
    let form = &heard.form;
    if form.packets == 0 {
        return Err(if strangers > 0 {
            (
                format!("{strangers} packets came from another address than UNICASTRTP_LOCAL_ADDRESS says"),
                "Asterisk and the shim must see the same address: use 127.0.0.1 for both, no NAT between them".into(),
            )
        } else {
            (
                "no packet came from Asterisk".into(),
                format!(
                    "let UDP through from Asterisk to {name}'s port (firewall), and see asterisk -rx 'rtp set debug on'"
                ),
            )
        });
    }
    let samples = codec.hz() as usize / 50;
    let wanted = (samples * codec.bytes_per_sample(), samples as u32);
    let kind = form.payload_type.unwrap_or(0);
    if !codec.accepts(kind) {
        return Err((
            format!("payload type {kind} instead of {}", codec.payload_type()),
            "asterisk.conf: rtp_use_dynamic and rtp_pt_dynamic must not renumber it; or choose another format".into(),
        ));
    }
    let got = (form.payload_bytes.unwrap_or(0), form.step.unwrap_or(0));
    if got != wanted {
        report.doubtful(
            format!(
                "{name}: packets of {} bytes and a timestamp step of {}, wanted {} and {}",
                got.0, got.1, wanted.0, wanted.1
            ),
            "packets of 20 ms are best; other lengths work",
        );
    }
    if heard.tone < heard.level - PURE_DB {
        return Err((
            "the tone comes as noise: wrong byte order or format".into(),
            format!("the format must be {} at both ends", codec.format()),
        ));
    }
    if (heard.tone - TONE_DBFS).abs() > TOLERANCE_DB {
        report.doubtful(
            format!("{name}: a tone of {TONE_DBFS} dBFS comes with {:.1} dBFS", heard.tone),
            "look for Set(VOLUME(...)), AGC or DENOISE in the dialplan",
        );
    }
    report.good(format!(
        "{name} from Asterisk: payload type {kind}, {} bytes, timestamp step {}, tone {:.1} dBFS, {} of {} packets odd",
        got.0, got.1, heard.tone, form.odd, form.packets
    ));
    Ok(())
}

fn judge_back(send: Send, heard: &Heard, name: &str, report: &mut Report) -> Result<(), Trouble> {
    if heard.tone < TONE_DBFS - 10.0 {
        return Err((
            format!("{} sent to Asterisk is not heard (tone {:.1} dBFS)", send.name(), heard.tone),
            "set send = \"g722\" (wide band) or \"ulaw\": Asterisk takes only static payload types here".into(),
        ));
    }
    if (heard.tone - TONE_DBFS).abs() > TOLERANCE_DB {
        report.doubtful(
            format!("{name}: a tone of {TONE_DBFS} dBFS sent to Asterisk is heard with {:.1} dBFS", heard.tone),
            "look for Set(VOLUME(...)) or AGC in the dialplan",
        );
    }
    report.good(format!("{name} to Asterisk: {} is heard, tone {:.1} dBFS", send.name(), heard.tone));
    Ok(())
}
