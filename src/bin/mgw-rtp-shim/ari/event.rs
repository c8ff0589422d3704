//! Events of ARI's websocket and the channels in them. Values only (std and serde_json), so that a fuzz target can
//! include this file.
//!
//! Newer Asterisks add fields and events, and some fields are missing when a channel is half gone: whatever is unknown,
//! missing or of another type is passed over. Only text that is no JSON object is an error.

use serde_json::Value;

/// As much of a channel as we use; what Asterisk does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    pub id: String,
    /// Such as `PJSIP/1001-00000001`.
    pub name: String,
    /// `Down`, `Ring` (it calls us), `Ringing` (we call it), `Up` and others.
    pub state: String,
    /// Who calls.
    pub number: String,
    /// Application of the dialplan that it is in: `Stasis` for those that an ARI application has.
    pub app_name: String,
    /// Arguments of that application, as `mgw,7777,room-42`.
    pub app_data: String,
    /// `UNICASTRTP_LOCAL_ADDRESS` and `UNICASTRTP_LOCAL_PORT`, in the reply that makes an external media channel.
    pub rtp_address: String,
    pub rtp_port: String,
}

/// Why a channel ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Q.850 number; 0 if Asterisk gives none.
    pub code: i64,
    /// Such as `User busy`.
    pub text: String,
}

/// What we act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A channel came to our application.
    Start {
        channel: Channel,
        args: Vec<String>,
        /// Id of the channel whose place it takes (an attended transfer).
        replaces: Option<String>,
    },
    /// A channel left our application: hung up, or sent elsewhere.
    End { channel: Channel },
    /// A channel is no more.
    Destroyed { channel: Channel, cause: Cause },
    /// Somebody asked for a channel's end; [`Event::End`] follows.
    HangupRequest { channel: Channel, cause: Cause },
    /// A channel was taken out of a bridge.
    LeftBridge { channel: Channel, bridge: String },
    /// A key of a phone.
    Dtmf { channel: Channel, digit: char },
    /// How far a channel that we dialled is: `RINGING`, `ANSWER`, `BUSY`, `NOANSWER`, ...; empty at first.
    Dial { peer: Channel, status: String },
    /// Another client has taken this application over; no more events come here.
    Replaced { application: String },
    /// An event that a client has asked for, by its name.
    User(String),
    /// Anything else, by its type.
    Other(String),
}

/// Reads one message of the websocket.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Event, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    if !value.is_object() {
        return Err("no JSON object".into());
    }
    let kind = field(&value, "type");
    let channel = || Channel::read(&value["channel"]);
    let cause = || Cause { code: value["cause"].as_i64().unwrap_or_default(), text: field(&value, "cause_txt") };
    Ok(match kind.as_str() {
        "StasisStart" => Event::Start {
            channel: channel(),
            args: list(&value["args"]),
            replaces: Some(field(&value["replace_channel"], "id")).filter(|id| !id.is_empty()),
        },
        "StasisEnd" => Event::End { channel: channel() },
        "ChannelDestroyed" => Event::Destroyed { channel: channel(), cause: cause() },
        "ChannelHangupRequest" => Event::HangupRequest { channel: channel(), cause: cause() },
        "ChannelLeftBridge" => Event::LeftBridge { channel: channel(), bridge: field(&value["bridge"], "id") },
        "ChannelDtmfReceived" => match field(&value, "digit").chars().next() {
            Some(digit) => Event::Dtmf { channel: channel(), digit },
            None => Event::Other(kind),
        },
        "Dial" => Event::Dial { peer: Channel::read(&value["peer"]), status: field(&value, "dialstatus") },
        "ApplicationReplaced" => Event::Replaced { application: field(&value, "application") },
        "ChannelUserevent" => Event::User(field(&value, "eventname")),
        _ => Event::Other(kind),
    })
}

impl Channel {
    /// Reads a channel as REST and events have it.
    pub fn read(value: &Value) -> Channel {
        let (plan, variables) = (&value["dialplan"], &value["channelvars"]);
        Channel {
            id: field(value, "id"),
            name: field(value, "name"),
            state: field(value, "state"),
            number: field(&value["caller"], "number"),
            app_name: field(plan, "app_name"),
            app_data: field(plan, "app_data"),
            rtp_address: field(variables, "UNICASTRTP_LOCAL_ADDRESS"),
            rtp_port: field(variables, "UNICASTRTP_LOCAL_PORT"),
        }
    }

    /// The arguments with which the channel came to `app`; `None` if it is not there.
    pub fn in_app(&self, app: &str) -> Option<Vec<String>> {
        let mut words = self.app_data.split(',').map(|word| word.trim().to_owned());
        (self.app_name == "Stasis" && words.next().as_deref() == Some(app)).then(|| words.collect())
    }
}

/// The texts of a list.
pub fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A field's text; empty if there is none.
pub fn field(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
