//! Connections that break at a byte, in every way, seen through bare TCP; and what the stats say of them.

use crate::harness::{Cloud, Got, PATIENCE, sentence};
use serde_json::json;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LISTEN: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true";
const AUTH: (&str, &str) = ("authorization", "Token k");
const ASK: &str = r#"{"text":["enbaba enbabe"],"target_lang":"ES"}"#;

fn request() -> String {
    format!(
        "POST /v2/translate HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\nAuthorization: DeepL-Auth-Key k\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ASK}",
        ASK.len()
    )
}

/// A cloud with one fault of translation `reply` bytes after the request.
fn broken(reply: usize, fault: &str) -> Cloud {
    let at = request().len() + reply;
    Cloud::start(&format!("[mt]\nlatency_ms = 1\n[[fault]]\nstage = \"mt\"\non = \"byte\"\nat = {at}\n{fault}"))
}

async fn asked(cloud: &Cloud) -> TcpStream {
    let mut stream = TcpStream::connect(&cloud.address).await.unwrap();
    stream.write_all(request().as_bytes()).await.unwrap();
    stream
}

/// All that comes until the end, and how it ends.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.expect("neither bytes nor an end") {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend(&buffer[..n]),
            Err(e) => return (all, Err(e.kind())),
        }
    }
}

#[tokio::test]
async fn a_reset_or_an_end_comes_after_exactly_so_many_bytes() {
    for (bytes, kind, end) in [
        (40, "reset", Err(ErrorKind::ConnectionReset)),
        (1, "reset", Err(ErrorKind::ConnectionReset)),
        (60, "close", Ok(())),
        (17, "fin", Ok(())),
        (90, "half_close", Ok(())),
        (0, "reset", Err(ErrorKind::ConnectionReset)),
        (0, "fin", Ok(())),
    ] {
        let cloud = broken(bytes, &format!("kind = \"{kind}\""));
        let mut stream = asked(&cloud).await;
        let (all, how) = rest(&mut stream).await;
        assert_eq!((all.len(), how), (bytes, end), "{kind}");
        assert!(b"HTTP/1.1 200 OK\r\n".starts_with(&all[..bytes.min(17)]), "{kind}");
        // The next connection is served, and found in the stats after the fault.
        let mut stream = asked(&cloud).await;
        let mut buffer = [0; 4096];
        let n = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"), "{kind}");
        let stats = cloud.stats().await;
        let (fault, accepted) = (&stats["faults"][0], stats["accepted"].as_array().unwrap());
        assert_eq!((&stats["faults_total"], &fault["hit"]), (&json!(1), &json!(request().len() + bytes)), "{kind}");
        let times = [&accepted[0]["tcp_ms"], &accepted[0]["at_ms"], &fault["at_ms"], &accepted[1]["at_ms"]];
        let times: Vec<u64> = times.iter().map(|t| t.as_u64().unwrap()).collect();
        assert!(times.is_sorted() && accepted.len() == 2 && accepted[0]["stage"] == "mt", "{kind} {stats}");
        assert!(stats["now_ms"].as_u64().unwrap() >= times[3]);
    }
}

#[tokio::test]
async fn a_request_is_cut_too_and_faults_repeat_every_so_many_bytes() {
    let cloud = Cloud::start(
        "[mt]\nlatency_ms = 1\n[[fault]]\nstage = \"mt\"\non = \"byte\"\nat = 100\nevery = 700\ncount = 2\nkind = \"fin\"",
    );
    let (all, how) = rest(&mut asked(&cloud).await).await;
    assert_eq!((all.len(), how), (0, Ok(())), "the head of the request was cut");
    assert_eq!(cloud.stats().await["translations"], json!([]), "what was cut is not carried out");
    let mut served = 0;
    while cloud.stats().await["faults_total"] == 1 {
        let mut stream = asked(&cloud).await;
        let mut buffer = [0; 4096];
        if let Ok(Ok(1..)) = timeout(PATIENCE, stream.read(&mut buffer)).await {
            served += 1;
        }
        assert!(served < 10, "the second firing is late");
    }
    let stats = cloud.stats().await;
    assert!(stats["bytes"]["mt"].as_u64().unwrap() >= 800 && stats["faults"][1]["hit"] == 800, "{stats}");
    assert!(served >= 1);
}

#[tokio::test]
async fn a_black_hole_says_nothing_and_lets_go_when_the_client_does() {
    let cloud = broken(30, "kind = \"black_hole\"");
    let mut stream = asked(&cloud).await;
    let mut buffer = [0; 4096];
    let mut n = 0;
    while n < 30 {
        n += timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
    }
    assert_eq!(n, 30);
    stream.write_all(request().as_bytes()).await.unwrap();
    let silent = timeout(Duration::from_millis(700), stream.read(&mut buffer)).await;
    assert!(silent.is_err(), "{silent:?}");
    // The same on a websocket: neither results nor pongs, and TCP stays open.
    let scenario = "[stt]\ninterim_interval_ms = 100\n[[fault]]\nstage = \"stt\"\non = \"message\"\nat = 30\nkind = \"black_hole\"";
    let cloud = Cloud::start(scenario);
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    let pcm = sentence("en", 0..4, 0.2);
    // 25 messages: what they are answered with must be there before the hole.
    ws.pcm(&pcm[..8000]).await;
    ws.until(|v| v["type"] == "Results").await;
    ws.pcm(&pcm[8000..]).await;
    cloud.until_stats(|s| s["faults_total"] == 1).await;
    while let Ok(Got::Json(_)) = timeout(Duration::from_millis(400), ws.next()).await {}
    futures_util::SinkExt::send(&mut ws.ws, tokio_tungstenite::tungstenite::Message::Ping("p".into())).await.unwrap();
    let silent = timeout(Duration::from_millis(500), futures_util::StreamExt::next(&mut ws.ws)).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(cloud.stats().await["open"]["stt"], 1);
    drop(ws);
    cloud.until_stats(|s| s["open"]["stt"] == 0).await;
}

#[tokio::test]
async fn a_stall_goes_on_in_the_middle_of_a_message_and_a_drip_is_slow() {
    let cloud = broken(50, "kind = \"stall\"\nms = 400");
    let begin = Instant::now();
    let mut stream = asked(&cloud).await;
    let mut all = Vec::new();
    while !all.ends_with(b"}]}") {
        let mut buffer = [0; 4096];
        let n = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        if all.len() < 50 && all.len() + n >= 50 {
            assert_eq!(all.len() + n, 50, "what comes before the stall");
        }
        all.extend(&buffer[..n]);
    }
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    assert!(String::from_utf8(all).unwrap().contains("esbaba esbabe"));

    // Before the stage of the connection was known.
    let fault = "[[fault]]\nstage = \"mt\"\non = \"byte\"\nat = 10\nkind = \"stall\"\nms = 300";
    let cloud = Cloud::start(&format!("mt.latency_ms = 1\n{fault}"));
    let begin = Instant::now();
    let mut buffer = [0; 4096];
    let n = timeout(PATIENCE, asked(&cloud).await.read(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..n].starts_with(b"HTTP/1.1 200") && begin.elapsed() >= Duration::from_millis(300));

    let cloud = broken(10, "kind = \"drip\"\nms = 5\nbytes = 60");
    let begin = Instant::now();
    let mut stream = asked(&cloud).await;
    let (mut all, mut reads) = (Vec::new(), 0);
    while !all.ends_with(b"}]}") {
        let mut buffer = [0; 4096];
        let n = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        all.extend(&buffer[..n]);
        reads += 1;
    }
    assert!(begin.elapsed() >= Duration::from_millis(300) && reads > 20, "{reads} in {:?}", begin.elapsed());
    assert!(String::from_utf8(all).unwrap().contains("esbaba esbabe"));
}

#[tokio::test]
async fn websockets_break_inside_a_message() {
    // Bytes of audio reach the stage; the client sees RST or FIN without a close frame.
    for (kind, reset) in [("reset", true), ("fin", false), ("half_close", false)] {
        let cloud = Cloud::start(&format!(
            "[[fault]]\nstage = \"stt\"\non = \"byte\"\nat = 20000\nkind = \"{kind}\"\n[stt]\ninterim_interval_ms = 100"
        ));
        let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
        // 640 bytes and a head of 8 each: the break is inside the 31st or an earlier one.
        let mut unsent = false;
        for piece in sentence("en", 0..6, 0.0).chunks(320) {
            let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
            unsent = futures_util::SinkExt::send(&mut ws.ws, bytes.into()).await.is_err();
            if unsent {
                break;
            }
        }
        let end = loop {
            match ws.next().await {
                Got::Json(_) => {}
                other => break other,
            }
        };
        let was_reset = match end {
            Got::Broken(tokio_tungstenite::tungstenite::Error::Io(e)) => e.kind() == ErrorKind::ConnectionReset,
            Got::Broken(_) => false,
            other => panic!("{kind}: {other:?}"),
        };
        // The kernel tells of a reset once: to the writer or to the reader.
        assert_eq!(was_reset || unsent, reset, "{kind}");
        let stats = cloud.stats().await;
        assert_eq!((&stats["faults_total"], &stats["faults"][0]["hit"]), (&json!(1), &json!(20000)), "{kind}");
        let heard = stats["audio_s"]["stt"].as_f64().unwrap();
        if kind == "half_close" {
            cloud.until_stats(|s| s["audio_s"]["stt"].as_f64().unwrap() > 1.0).await;
        } else {
            // 20000 bytes are 0.625 s; results take their share, and what was read last is lost with the connection.
            assert!((0.1..0.625).contains(&heard), "{kind}: {heard} s of audio before the break");
        }
    }
}

#[tokio::test]
async fn half_a_close_on_generated_audio_loses_it() {
    let cloud = Cloud::start(
        "[tts]\nfirst_audio_ms = 1\n[[fault]]\nstage = \"tts\"\non = \"generation\"\nat = 1\nkind = \"half_close\"",
    );
    let path = "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000";
    let mut ws = cloud.open(path, ("xi-api-key", "k")).await.unwrap().0;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": "esbaba ", "context_id": "a", "flush": true})).await;
    ws.json(json!({"text": "esbabe ", "context_id": "a", "flush": true})).await;
    assert!(matches!(ws.next().await, Got::Broken(_)));
    cloud.until_stats(|s| s["spoken"].as_array().unwrap().len() == 2).await;
}
