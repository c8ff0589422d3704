//! What the client makes of answers, of none, and of odd names.

use std::time::Duration;

use crate::ari::mock::{Fault, Mock, PASSWORD};
use crate::ari::rest::{Error, Originate, Reason};
use crate::settings::Ari;

#[tokio::test]
async fn what_asterisk_says_is_told_apart() {
    let mock = Mock::start().await;
    let control = mock.control_with(&Ari { timeout: Duration::from_secs(3), ..mock.settings() });
    let rest = &control.rest;
    let html = "<html><body>The requested URL was not found on this server.</body></html>";
    for (fault, wanted) in [
        (Fault::Answer(401, r#"{"message":"Authentication required"}"#), "Unauthorised"),
        (Fault::Answer(403, r#"{"message":"Write access denied"}"#), "Unauthorised"),
        (Fault::Answer(404, r#"{"message":"Channel not found"}"#), "NotFound"),
        (Fault::Answer(404, html), "NotFound"),
        (Fault::Answer(500, r#"{"error":"Allocation failed"}"#), "Refused"),
        (Fault::Answer(422, r#"{"message":"Channel not in Stasis application"}"#), "Refused"),
        (Fault::Answer(503, "busy"), "Refused"),
        (Fault::Answer(200, "{half an answ"), "Garbage"),
        (Fault::Answer(200, r#"{"no":"list"}"#), "Garbage"),
        (Fault::Stall, "Timeout"),
    ] {
        mock.fault("GET /channels", 1, fault.clone());
        let error = rest.channels().await.expect_err("a fault");
        let (kind, text) = (format!("{error:?}"), error.to_string());
        assert!(kind.starts_with(wanted), "{fault:?}: {kind}");
        assert!(!text.is_empty() && !kind.contains(PASSWORD) && !text.contains(PASSWORD), "{kind}");
    }
    assert_eq!(rest.channels().await, Ok(Vec::new()), "it works again");
    let view = control.status.view();
    assert_eq!((view.requests, view.failed_requests), (11, 7), "\"not found\" and a list that is none are answers");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let mock = Mock::start().await;
    let wrong = mgw::config::Secret::parse("another-word").expect("password");
    let error =
        mock.control_with(&Ari { password: wrong, ..mock.settings() }).rest.version().await.expect_err("refused");
    assert!(error.to_string().contains("set shim.ari.password (or MGW_ARI_PASSWORD)"), "{error}");
    let url = format!("http://{}/elsewhere", mock.address).parse().expect("url");
    let error = mock.control_with(&Ari { url, ..mock.settings() }).rest.version().await.expect_err("not there");
    assert!(error.to_string().contains("set enabled = yes in ari.conf"), "{error}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let url = format!("http://{free}").parse().expect("url");
    let error = mock.control_with(&Ari { url, ..mock.settings() }).rest.version().await.expect_err("nobody");
    assert!(matches!(error, Error::Unreachable(_)) && error.to_string().contains("is Asterisk running"), "{error}");
}

#[tokio::test]
async fn odd_ids_stay_one_part_of_the_path() {
    let mock = Mock::start().await;
    let control = mock.control();
    for (id, path) in [
        ("17.1", "17.1"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("50%", "50%25"),
        ("Local;2", "Local;2"),
        ("ä b", "%C3%A4%20b"),
    ] {
        control.rest.hang_up(id, Reason::Busy).await.expect("gone already");
        assert_eq!(mock.things().requests.pop(), Some(format!("DELETE /channels/{path}?reason=busy ")));
    }
    for id in ["", ".", ".."] {
        control.rest.destroy_bridge(id).await.expect("cannot exist");
    }
    assert_eq!(mock.things().requests, Vec::<String>::new(), "nothing else was hit");
}

#[tokio::test]
async fn originate_asks_for_what_it_should() {
    let mock = Mock::start().await;
    let control = mock.control();
    let ask = Originate {
        channel_id: "x-out",
        endpoint: "PJSIP/1001",
        app_args: "7777,~a1",
        caller_id: "mgw",
        ring_for: Duration::from_secs(30),
        variables: &[("MGW_ROOM", "~a1")],
    };
    control.rest.originate(&ask).await.expect("dialled");
    let request = mock.things().requests.pop().expect("a request");
    let (line, body) = request.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(line, "/channels?");
    let wanted = serde_json::json!({
        "endpoint": "PJSIP/1001", "app": "mgw", "appArgs": "7777,~a1", "channelId": "x-out", "callerId": "mgw",
        "timeout": 30, "variables": { "MGW_ROOM": "~a1" },
    });
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn external_media_without_an_address_is_refused() {
    let mock = Mock::start().await;
    let control = mock.control();
    let host = "127.0.0.1:17000".parse().expect("address");
    let made = control.rest.external_media("e", host, "slin16").await;
    assert_eq!(made, Ok("127.0.0.1:28882".parse().expect("address")));
    for answer in [
        r#"{"id":"e"}"#,
        r#"{"channelvars":{"UNICASTRTP_LOCAL_ADDRESS":"0.0.0.0","UNICASTRTP_LOCAL_PORT":"1"}}"#,
        r#"{"channelvars":{"UNICASTRTP_LOCAL_ADDRESS":"127.0.0.1","UNICASTRTP_LOCAL_PORT":"0"}}"#,
        r#"{"channelvars":{"UNICASTRTP_LOCAL_ADDRESS":"127.0.0.1","UNICASTRTP_LOCAL_PORT":"70000"}}"#,
    ] {
        mock.fault("POST /channels/externalMedia", 1, Fault::Answer(200, answer));
        let made = control.rest.external_media("e", host, "slin16").await;
        assert!(matches!(made, Err(Error::Garbage(_))), "{answer}: {made:?}");
    }
}
