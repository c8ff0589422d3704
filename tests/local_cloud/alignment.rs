//! Where ElevenLabs says that characters are: on the websocket and in `/stream/with-timestamps`.

use crate::codec::{Decoder, GAP_S, Heard, TOKEN_S};
use crate::harness::{Cloud, hear, spelt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const FAST: &str = "[tts]\nfirst_audio_ms = 1\nspeed = 100.0\nodd_chunk_rate = 0.5\nchunk_ms = [40, 250]\n";
const KEY: (&str, &str) = ("xi-api-key", "k");
const RATE: u32 = 16000;

fn decoded(v: &Value) -> Vec<u8> {
    v.as_str().map(|a| STANDARD.decode(a).unwrap()).unwrap_or_default()
}

/// Character, beginning and end in seconds since the audio began.
type Placed = (char, f64, f64);

/// Checks each character against what an ear hears: a word's characters share its token, a space has the gap after it.
fn check(text: &str, bytes: &[u8], placed: &[Placed], tolerance: f64) {
    assert_eq!(placed.iter().map(|p| p.0).collect::<String>(), text);
    let pcm: Vec<i16> = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let mut decoder = Decoder::new(RATE);
    let mut heard = decoder.feed(&pcm);
    heard.extend(decoder.finish());
    let mut words = heard.iter().map(|h| match h {
        Heard::Word { token, start, .. } => (token.text(), *start),
        Heard::Damaged { .. } => panic!("damaged audio"),
    });
    let mut letters = String::new();
    let mut began = 0.0;
    for (c, start, end) in placed {
        if *c == ' ' {
            let (word, at) = words.next().unwrap();
            assert_eq!(letters, word);
            assert!((began - at).abs() < 0.004 + tolerance, "{word} is at {at}, not {began}");
            let pause = (start - at - TOKEN_S).abs() + (end - at - TOKEN_S - GAP_S).abs();
            assert!(pause < 0.008 + 2.0 * tolerance, "the space after {word}: {start} to {end}");
            letters.clear();
        } else {
            if letters.is_empty() {
                began = *start;
            }
            let expected = began + letters.len() as f64 * TOKEN_S / 6.0;
            assert!((start - expected).abs() < 0.001 + tolerance, "{c} at {start}, not {expected}");
            assert!((end - start - TOKEN_S / 6.0).abs() < 0.001 + tolerance, "{c} lasts {}", end - start);
            letters.push(*c);
        }
    }
    assert!(words.next().is_none());
}

#[tokio::test]
async fn messages_carry_the_characters_that_begin_in_them() {
    let cloud = Cloud::start(FAST);
    let path = "/v1/text-to-speech/v/multi-stream-input?model_id=eleven_flash_v2_5&output_format=pcm_16000&sync_alignment=true";
    let mut ws = cloud.open(path, KEY).await.unwrap().0;
    let texts = [spelt("es", 0..12) + " ", spelt("es", 50..57) + " "];
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    for text in &texts {
        ws.json(json!({"text": text, "context_id": "a", "flush": true})).await;
    }
    ws.json(json!({"context_id": "a", "close_context": true})).await;
    let (mut bytes, mut placed, mut chunks) = (Vec::new(), Vec::<Placed>::new(), 0);
    loop {
        let v = ws.until(|_| true).await;
        if v["isFinal"] == true {
            break;
        }
        chunks += 1;
        assert_eq!(v["alignment"], v["normalizedAlignment"]);
        // A chunk's own time begins at the first sample that it holds whole, or half.
        let from = (bytes.len() / 2 + bytes.len() % 2) as f64 / f64::from(RATE);
        bytes.extend(decoded(&v["audio"]));
        let upto = (bytes.len() / 2 + bytes.len() % 2) as f64 / f64::from(RATE);
        let list = |name: &str| v["alignment"][name].as_array().cloned().unwrap_or_default();
        let (chars, starts, lengths) = (list("chars"), list("charStartTimesMs"), list("charDurationsMs"));
        assert!(chars.len() == starts.len() && chars.len() == lengths.len());
        for ((c, start), length) in chars.iter().zip(&starts).zip(&lengths) {
            let start = from + start.as_u64().unwrap() as f64 / 1000.0;
            assert!(start <= upto + 0.001, "{c} begins at {start}, the chunk ends at {upto}");
            placed.push((c.as_str().unwrap().chars().next().unwrap(), start, start + length.as_u64().unwrap() as f64 / 1000.0));
        }
    }
    assert!(chunks > 10, "{chunks}");
    assert_eq!(hear(&bytes, RATE), (format!("{} {}", spelt("es", 0..12), spelt("es", 50..57)), 0));
    // The context opened with a space, which is spoken before everything else and takes no time.
    assert_eq!((placed[0].0, placed[0].1, placed[0].2), (' ', 0.0, 0.0));
    check(&texts.concat(), &bytes, &placed[1..], 0.0015);
    cloud.assert_no_violations().await;
}

#[tokio::test]
async fn lines_carry_absolute_seconds() {
    let cloud = Cloud::start(FAST);
    let url = cloud.url("/v1/text-to-speech/v/stream/with-timestamps?output_format=pcm_16000");
    let text = spelt("en", 0..25) + " ";
    let ask = json!({"text": text, "model_id": "eleven_flash_v2_5"});
    let reply = reqwest::Client::new().post(url).header("xi-api-key", "k").json(&ask).send().await.unwrap();
    assert!(reply.status() == 200 && reply.headers().contains_key("request-id"));
    let body = reply.text().await.unwrap();
    assert!(body.ends_with('\n') && body.lines().count() > 10);
    let (mut bytes, mut placed, mut odd) = (Vec::new(), Vec::<Placed>::new(), false);
    for line in body.lines() {
        let v: Value = serde_json::from_str(line).unwrap();
        let audio = decoded(&v["audio_base64"]);
        odd |= audio.len() % 2 == 1;
        bytes.extend(audio);
        let seconds = bytes.len() as f64 / 2.0 / f64::from(RATE);
        assert_eq!(v["alignment"], v["normalized_alignment"]);
        let list = |name: &str| v["alignment"][name].as_array().cloned().unwrap_or_default();
        let (starts, ends) = (list("character_start_times_seconds"), list("character_end_times_seconds"));
        for (i, c) in list("characters").iter().enumerate() {
            let start = starts[i].as_f64().unwrap();
            assert!(start <= seconds + 0.001, "{c} begins at {start} of {seconds} s sent");
            placed.push((c.as_str().unwrap().chars().next().unwrap(), start, ends[i].as_f64().unwrap()));
        }
    }
    assert!(odd, "a sample must be split now and then");
    check(&text, &bytes, &placed, 0.0006);
    // Without timestamps the audio is bare, and the stream's refusals are the same.
    let wrong = cloud.url("/v1/text-to-speech/v/stream/with-timestamps?output_format=wav");
    let reply = reqwest::Client::new().post(wrong).header("xi-api-key", "k").json(&ask).send().await.unwrap();
    assert_eq!(reply.json::<Value>().await.unwrap()["detail"]["code"], "invalid_output_format");
}

#[tokio::test]
async fn quota_and_concurrency_are_the_scenarios() {
    let cloud = Cloud::start(&format!("{FAST}[elevenlabs]\ncharacter_limit = 20\nmax_sockets = 1\n"));
    let path = "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000";
    let mut ws = cloud.open(path, KEY).await.unwrap().0;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": "esbaba esbabe ", "context_id": "a", "flush": true})).await;
    ws.until(|v| v["audio"].is_string()).await;
    let mut second = cloud.open(path, KEY).await.unwrap().0;
    let (all, code, _) = second.until_closed().await;
    assert_eq!((code, &all[0]["error"]), (1008, &json!("too_many_concurrent_requests")));
    ws.json(json!({"text": "esbaba esbabe ", "context_id": "a", "flush": true})).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!((code, &all.last().unwrap()["error"]), (1008, &json!("quota_exceeded")));
    let url = cloud.url("/v1/text-to-speech/v/stream?output_format=pcm_16000");
    let ask = json!({"text": "esbaba esbabe"});
    let reply = reqwest::Client::new().post(url).header("xi-api-key", "k").json(&ask).send().await.unwrap();
    assert_eq!(reply.status(), 401);
    assert_eq!(reply.json::<Value>().await.unwrap()["detail"]["code"], "quota_exceeded");
    cloud.assert_no_violations().await;
}
