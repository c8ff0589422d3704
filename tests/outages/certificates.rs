//! Servers whose certificate must be refused: nothing is sent to them, the host is told, the original voice passes, and
//! nobody hammers.

use std::time::Duration;

use mgw::Gateway;

use crate::support::{Cloud, temp_file};
use crate::talk::{Talk, Told, side_by_side};

const S: Duration = Duration::from_secs(1);
/// Attempts of a stage until the original voice is heard: each vendor is asked again after 30 s only.
const MOST_CONNECTIONS: u64 = 6;

/// A cloud with a bad certificate in the place of one vendor.
struct Bad {
    stage: &'static str,
    vendor: &'static str,
    cloud: Cloud,
}

#[test]
fn bad_certificates_are_refused_and_told() {
    let (mut jobs, mut authorities) = (Vec::new(), String::new());
    for (stage, vendor) in [("stt", "deepgram"), ("mt", "deepl"), ("tts", "elevenlabs")] {
        for fault in ["wrong-name", "expired", "self-signed", "untrusted"] {
            let cloud = Cloud::start_tls_with("", &["--tls-fault", fault]);
            authorities += &std::fs::read_to_string(cloud.ca().expect("TLS")).expect("an authority");
            jobs.push((format!("{stage} {fault}"), Bad { stage, vendor, cloud }));
        }
    }
    // One that is good, to see that the authorities are trusted.
    let good = Cloud::start_tls("");
    authorities += &std::fs::read_to_string(good.ca().expect("TLS")).expect("an authority");
    let file = temp_file("authorities.pem");
    std::fs::write(&file, authorities).expect("a file");
    let config = Cloud::start("").config(&[("tls.ca_file", file.to_str().expect("UTF-8"))]);
    let gateway = Gateway::new(&config).unwrap_or_else(|e| panic!("{e}"));
    let told = Told::default();
    jobs.push(("good".to_owned(), Bad { stage: "", vendor: "", cloud: good }));
    let failed = side_by_side(&gateway, &told, jobs.len(), &jobs, |room, bad| refuse(&gateway, &told, room, bad));
    assert!(failed.is_empty(), "{} of {} calls:\n{}", failed.len(), jobs.len(), failed.join("\n\n"));
    gateway.shutdown(20 * S).unwrap_or_else(|e| panic!("{e}"));
}

fn refuse(gateway: &Gateway, told: &Told, room: &str, bad: &Bad) {
    let tls = format!("https://{}", bad.cloud.address);
    let plain = Cloud::start("");
    let base = format!("http://{}", plain.address);
    if bad.stage.is_empty() {
        let mut talk = Talk::begin(gateway, told, room, plain, &tls, &[]);
        talk.until_heard("es", 60 * S);
        return talk.end();
    }
    let mut talk = Talk::begin(gateway, told, room, plain, &base, &[(&format!("{}.base_url", bad.vendor), &tls)]);
    let event = talk.event("an event of the certificate", 30 * S, |event| {
        event["type"] == "provider" && event["stage"] == bad.stage && event["state"] == "down"
    });
    assert_eq!((&event["code"], &event["provider"]), (&"tls".into(), &bad.vendor.into()), "{event}");
    talk.until_heard("en", 60 * S);
    let stats = bad.cloud.stats();
    assert_eq!(stats["requests"], serde_json::json!({}), "{stats}");
    assert_eq!(stats["violations_total"], 0, "not a word in plain text: {stats}");
    let connections = stats["tcp_connections"].as_u64().expect("a number");
    assert!((1..=MOST_CONNECTIONS).contains(&connections), "{connections} connections");
    talk.end();
}
