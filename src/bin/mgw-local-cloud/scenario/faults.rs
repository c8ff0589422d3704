//! `[[fault]]`: what goes wrong, where, and when.

use crate::fault::{hostile, vendor};
use serde::{Deserialize, Serialize};

/// The three services.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Recognition (Deepgram, Flux).
    Stt,
    /// Translation (DeepL, OpenAI-compatible chat, LibreTranslate).
    Mt,
    /// Synthesis (ElevenLabs, Aura).
    Tts,
}

/// What a fault's `at` counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// HTTP requests and websocket handshakes of the stage (`connection` means the same).
    #[default]
    #[serde(alias = "connection")]
    Request,
    /// Websocket messages from clients, over all connections of the stage.
    Message,
    /// Generations of synthesised audio.
    Generation,
    /// Bytes carried in both directions over all connections of the stage, heads of requests and replies included.
    Byte,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// TCP reset.
    Reset,
    /// Websocket: close frame with `code` (1011) and `text`. HTTP: the connection ends without a reply. On bytes: as `fin`.
    Close,
    /// The connection ends (FIN) in the middle of whatever it carried, without a websocket close.
    Fin,
    /// The writing side ends (FIN); what the client sends is still read, answers are lost.
    HalfClose,
    /// Nothing is read or written any more while TCP stays open.
    BlackHole,
    /// HTTP status `code` (503) with body `text`, also instead of a websocket handshake.
    Status,
    /// Neither reads nor answers for `ms` (0: never again).
    Stall,
    /// From here on single bytes go out, one every `ms` milliseconds, `bytes` of them (0: for ever); reading goes on.
    Drip,
    /// Websocket: `text` as a TEXT message, then close with `code` if given. HTTP: as `status`.
    ErrorMessage,
    /// Websocket: a TEXT message that is no JSON. HTTP: 200 with a body that is none.
    Garbage,
    /// What a vendor really answers, by `name`: see [`vendor`].
    Vendor,
    /// What no honest vendor answers, by `name`: see [`hostile`]. Websocket: precedes the real reply; HTTP: replaces it.
    Hostile,
}

impl FaultKind {
    /// Whether it needs nothing but the byte stream.
    pub fn of_transport(self) -> bool {
        use FaultKind::{BlackHole, Close, Drip, Fin, HalfClose, Reset, Stall};
        matches!(self, Reset | Close | Fin | HalfClose | BlackHole | Stall | Drip)
    }
}

/// `[[fault]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `stt`, `mt` or `tts`.
    pub stage: Stage,
    /// `request` (default; `connection` means the same), `message`, `generation` or `byte`.
    #[serde(default)]
    pub on: On,
    /// The first one that fails, counted from 1 since the scenario was set. A byte fault is fired after that byte.
    pub at: u64,
    /// How many in a row fail (1; 0: all from there on). Of bytes: how many times, `every` bytes apart.
    #[serde(default = "one")]
    pub count: u64,
    /// Bytes from one firing of a byte fault to the next.
    #[serde(default)]
    pub every: u64,
    /// See [`FaultKind`].
    pub kind: FaultKind,
    /// Of a `vendor` or `hostile` fault.
    pub name: Option<String>,
    /// Time from the event to the fault (0); until then everything works.
    #[serde(default)]
    pub after_ms: u64,
    /// Status or close code.
    pub code: Option<u16>,
    /// Body, reason or message.
    pub text: Option<String>,
    /// Seconds for a Retry-After header.
    pub retry_after: Option<u64>,
    /// Length of a stall (0: for ever), or the time between bytes of a drip.
    #[serde(default)]
    pub ms: u64,
    /// Length of a drip (0: for ever).
    #[serde(default)]
    pub bytes: u64,
}

fn one() -> u64 {
    1
}

impl Fault {
    /// A TCP reset.
    pub fn reset() -> Fault {
        Fault {
            stage: Stage::Stt,
            on: On::Request,
            at: 1,
            count: 1,
            every: 0,
            kind: FaultKind::Reset,
            name: None,
            after_ms: 0,
            code: None,
            text: None,
            retry_after: None,
            ms: 0,
            bytes: 0,
        }
    }

    /// What is wrong with it, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let status =
            self.kind == FaultKind::Status || (self.kind == FaultKind::ErrorMessage && self.stage == Stage::Mt);
        let good = match self.code {
            _ if self.at == 0 => false,
            None => true,
            Some(code) if status => (200..=599).contains(&code),
            Some(code) => {
                matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) || self.kind == FaultKind::ErrorMessage
            }
        };
        let here = match self.on {
            On::Request => true,
            On::Message => self.stage != Stage::Mt && self.kind != FaultKind::Status,
            On::Generation => self.stage == Stage::Tts && self.kind != FaultKind::Status,
            On::Byte => self.kind.of_transport() && self.after_ms == 0,
        };
        if !good || !here {
            return Err("bad at, code, or on (request, message, generation, byte) for this stage and kind".to_owned());
        }
        if (self.every > 0) != (self.on == On::Byte && self.count != 1) {
            return Err("every is wanted for byte faults with a count, and for no others".to_owned());
        }
        if self.kind == FaultKind::Drip && self.ms == 0 {
            return Err("a drip wants ms".to_owned());
        }
        let named = matches!(self.kind, FaultKind::Vendor | FaultKind::Hostile);
        match &self.name {
            None if named => Err("name is missing".to_owned()),
            Some(_) if !named => Err("name belongs to vendor and hostile faults".to_owned()),
            Some(name) if self.kind == FaultKind::Vendor && vendor::reply(name).is_none() => {
                Err(format!("no vendor fault {name}"))
            }
            Some(name) if self.kind == FaultKind::Hostile && !hostile::NAMES.contains(&name.as_str()) => {
                Err(format!("no hostile fault {name}"))
            }
            _ => Ok(()),
        }
    }
}
