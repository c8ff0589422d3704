//! Events as Asterisk 22.10.1 sent them, shortened by what we do not read, and what nobody should send.

use crate::ari::event::{Channel, Event, parse};

fn kind(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn a_caller_comes() {
    let text = r#"{"type":"StasisStart","timestamp":"2026-11-20T13:51:42.894+0000","args":["7777","room-42"],"channel":
        {"id":"1795182702.1","name":"PJSIP/1001-00000000","state":"Ring","protocol_id":"","caller":{"name":"","number":
        "1001"},"connected":{"name":"","number":""},"accountcode":"","dialplan":{"context":"mgw","exten":"7777",
        "priority":1,"app_name":"Stasis","app_data":"mgw,7777,room-42"},"creationtime":"2026-11-20T13:51:42.894+0000",
        "language":"en"},"asterisk_id":"02:fc:00:00:00:01","application":"mgw"}"#;
    let channel = Channel {
        id: "1795182702.1".into(),
        name: "PJSIP/1001-00000000".into(),
        state: "Ring".into(),
        number: "1001".into(),
        app_name: "Stasis".into(),
        app_data: "mgw,7777,room-42".into(),
        ..Channel::default()
    };
    assert_eq!(channel.in_app("mgw"), Some(vec!["7777".into(), "room-42".into()]));
    assert_eq!((channel.in_app("mg"), channel.in_app("mgw2")), (None, None));
    let args = vec!["7777".into(), "room-42".into()];
    assert_eq!(parse(text), Ok(Event::Start { channel, args, replaces: None }));
}

#[test]
fn what_asterisk_sends_is_understood() {
    for (text, wanted) in [
        (r#"{"type":"StasisStart","args":[],"channel":{"id":"a"},"replace_channel":{"id":"b"}}"#, "Start"),
        (r#"{"type":"StasisEnd","timestamp":"2026-11-20T13:53:34.989+0000","channel":{"id":"a"}}"#, "End"),
        (r#"{"type":"ChannelDestroyed","cause":17,"cause_txt":"User busy","channel":{"id":"a"}}"#, "Destroyed"),
        (r#"{"cause":32,"soft":true,"type":"ChannelHangupRequest","channel":{"id":"a"}}"#, "HangupRequest"),
        (r#"{"type":"ChannelLeftBridge","bridge":{"id":"b"},"channel":{"id":"a"}}"#, "LeftBridge"),
        (r#"{"type":"BridgeDestroyed","bridge":{"id":"b","channels":[]}}"#, "Other"),
        (r#"{"type":"ChannelDtmfReceived","digit":"5","duration_ms":100,"channel":{"id":"a"}}"#, "Dtmf"),
        (r#"{"type":"Dial","dialstatus":"BUSY","forward":"","dialstring":"1001","peer":{"id":"a"}}"#, "Dial"),
        (r#"{"type":"ApplicationReplaced","application":"mgw","asterisk_id":"02:fc"}"#, "Replaced"),
        (r#"{"variable":"MGW_ROOM","value":"~abc1","type":"ChannelVarset","channel":{"id":"a"}}"#, "Other"),
        (r#"{"type":"SomethingNew","list":[1,2,{"x":null}]}"#, "Other"),
    ] {
        assert_eq!(kind(&parse(text).expect(text)), wanted, "{text}");
    }
}

#[test]
fn missing_and_wrong_fields_are_no_errors() {
    for (text, wanted) in [
        (r#"{"type":"StasisStart"}"#, "Start"),
        (r#"{"type":"StasisStart","args":"7777","channel":"a","replace_channel":3}"#, "Start"),
        (r#"{"type":"StasisStart","args":[1,null,["7777"]],"channel":{"id":7,"dialplan":[]}}"#, "Start"),
        (r#"{"type":"ChannelDestroyed","cause":"17","cause_txt":3,"channel":null}"#, "Destroyed"),
        (r#"{"type":"ChannelDtmfReceived","digit":"","channel":{"id":"a"}}"#, "Other"),
        (r#"{"type":"ChannelDtmfReceived","digit":5,"channel":{"id":"a"}}"#, "Other"),
        (r#"{"type":"Dial","peer":[]}"#, "Dial"),
        (r#"{"type":12}"#, "Other"),
        ("{}", "Other"),
    ] {
        assert_eq!(kind(&parse(text).expect(text)), wanted, "{text}");
    }
}

#[test]
fn what_is_no_event_is_an_error() {
    for text in ["", "x", "[]", "3", "null", "\"StasisStart\"", r#"{"type":"StasisStart""#, &"[".repeat(100_000)] {
        assert!(parse(text).is_err(), "{}", &text[..text.len().min(20)]);
    }
}
