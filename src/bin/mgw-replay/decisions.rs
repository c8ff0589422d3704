//! What a room was told and decided, one readable line each.

use std::collections::BTreeMap;
use std::time::Duration;

use mgw::engine::record::reader::What;
use mgw::engine::record::replay::Seen;
use mgw::engine::{Input, NetCommand, Output, SessionId};
use mgw::event::EventKind;
use mgw::provider::{SpeechChunk, StageError, SttEvent};
use serde_json::{Map, Value};

/// Names sessions in the order in which they come: `A 7777`, `B 8888`.
#[derive(Default)]
pub struct Decisions {
    names: BTreeMap<u64, String>,
}

impl Decisions {
    /// The line for what happens, if it is worth one: what is said, heard and ticks is not.
    pub fn tell(&mut self, at: Duration, seen: &Seen<'_>) -> Option<String> {
        let (session, text) = match seen {
            Seen::Input(input) => self.input(input)?,
            Seen::Done(What::Rejoin { session, config, .. }) => {
                self.name(*session, &config.profile);
                (Some(*session), "< is put back into a new engine".to_owned())
            }
            Seen::Done(What::End) => (None, "< everybody has to go".to_owned()),
            Seen::Done(_) => (None, "< a panic is injected".to_owned()),
            Seen::Output(output) => self.output(output)?,
        };
        let name = session.map(|id| self.named(id.0)).unwrap_or_default();
        Some(format!("{:>10.3} {name:<8} {text}", at.as_secs_f64()))
    }

    fn name(&mut self, session: SessionId, profile: &str) {
        let n = self.names.len();
        let letter = u8::try_from(n).ok().filter(|n| *n < 26).map_or('?', |n| char::from(b'A' + n));
        self.names.entry(session.0).or_insert_with(|| format!("{letter} {profile}"));
    }

    fn named(&self, session: u64) -> String {
        self.names.get(&session).cloned().unwrap_or_else(|| session.to_string())
    }

    /// What comes from outside, with `<`.
    fn input(&mut self, input: &Input<'_>) -> Option<(Option<SessionId>, String)> {
        let span =
            |start: &Duration, end: &Duration| format!("{:.3} to {:.3} s", start.as_secs_f64(), end.as_secs_f64());
        let error = |e: &StageError| format!("{} {}: {}", e.class.name(), e.code, e.message);
        let (session, text) = match input {
            Input::Join { session, config } => {
                self.name(*session, &config.profile);
                return None;
            }
            Input::Leave { session, mode } => (*session, format!("leaves ({mode:?})")),
            Input::Gap { session, count, dropped } => {
                (*session, format!("{count} samples {}", if *dropped { "did not fit" } else { "are missing" }))
            }
            Input::InRate { session, hz } => (*session, format!("speaks at {hz} Hz from here on")),
            Input::OutRate { session, hz } => (*session, format!("wants to hear at {hz} Hz")),
            Input::Stt { session, event } => {
                let text = match event {
                    SttEvent::Lost { start, end } => format!("no recogniser was given {}", span(start, end)),
                    SttEvent::Replaying { start, end } => format!("{} is recognised again", span(start, end)),
                    SttEvent::Replayed { start, end } => format!("{} was recognised again", span(start, end)),
                    SttEvent::Recovered(t) => format!("recognised again: {:?}", t.text),
                    SttEvent::EagerEnd(t) => format!("the turn is probably over: {:?}", t.text),
                    SttEvent::Resumed(_) => "the turn goes on".to_owned(),
                    _ => return None,
                };
                (*session, text)
            }
            Input::Translated { segment, target, result: Err(e) } => {
                return Some((None, format!("< #{} is not translated into {target}: {}", segment.0, error(e))));
            }
            Input::Speech { segment, target, chunk: SpeechChunk::Failed(e) } => {
                return Some((None, format!("< #{} is not spoken in {target}: {}", segment.0, error(e))));
            }
            Input::Set { session, .. } => (*session, "has other settings".to_owned()),
            Input::Say { session, text, language } => (*session, format!("is to be told in {language}: {text:?}")),
            Input::Command { session, verb } => (*session, format!("command {verb:?}")),
            _ => return None,
        };
        Some((Some(session), format!("< {text}")))
    }

    fn output(&mut self, output: &Output) -> Option<(Option<SessionId>, String)> {
        let (session, text) = match output {
            Output::Event(event) => (event.session, self.event(&event.kind)?),
            Output::Flush { session, ring } => (*session, format!("what waits is dropped ({ring:?})")),
            Output::OutRateDone { session, hz } => (*session, format!("hears at {hz} Hz from here on")),
            Output::Play { .. } | Output::Gone { .. } => return None,
            Output::Net(command) => match command {
                NetCommand::OpenStt { session, rate, .. } => (*session, format!("opens a recogniser at {rate} Hz")),
                NetCommand::CloseStt { session, drain } => {
                    let how = if *drain { "when it has said all" } else { "at once" };
                    (*session, format!("closes the recogniser {how}"))
                }
                NetCommand::FinalizeStt { session } => (*session, "asks the recogniser to finalise".to_owned()),
                NetCommand::OpenTts { session, target, rate, .. } => {
                    (*session, format!("opens a synthesiser for {target} at {rate} Hz"))
                }
                NetCommand::CloseTts { session, target } => (*session, format!("closes the synthesiser for {target}")),
                NetCommand::Translate(job) => {
                    let (n, from, into) = (job.segment.0, job.source, job.target);
                    (job.session, format!("#{n} is to be translated from {from} into {into}: {:?}", job.text))
                }
                NetCommand::Speak(job) => {
                    (job.session, format!("#{} is to be spoken in {}: {:?}", job.segment.0, job.target, job.text))
                }
                NetCommand::Cancel { session, segment, target } => {
                    (*session, format!("#{} in {target} is not wanted any more", segment.0))
                }
                NetCommand::Audio { .. } => return None,
            },
        };
        Some((Some(session), text))
    }

    /// An event, by its JSON: what a later version tells besides stands behind, as it is.
    fn event(&self, kind: &EventKind) -> Option<String> {
        if kind.is_interim() {
            return None;
        }
        let Ok(Value::Object(mut all)) = serde_json::to_value(kind) else { return None };
        let all = &mut all;
        let kind = text(all, "type");
        let mut line = match kind.as_str() {
            "transcript" => {
                all.remove("final");
                format!("final: {:?}", text(all, "text"))
            }
            "translation" => {
                let (n, mt) = (number(all, "segment"), number(all, "mt_ms"));
                let said = text(all, "source_text");
                format!("#{n} translated in {mt:.0} ms: {said:?} -> {:?}", text(all, "text"))
            }
            "segment_done" => {
                let ear = self.named(number(all, "listener") as u64);
                let (n, lag, length) = (number(all, "segment"), number(all, "lag_ms"), number(all, "heard_ms"));
                let whole = if all.remove("complete") == Some(Value::Bool(true)) { "heard" } else { "heard in part" };
                let heard = text(all, "text");
                let marks = all.remove("marks").unwrap_or_default();
                let mark = |name: &str| marks[name].as_f64().unwrap_or_default() / 1000.0;
                let (from, to) = (mark("playout_start_ms"), mark("playout_end_ms"));
                all.remove("source_text");
                format!(
                    "#{n} {whole} by {ear} from {from:.3} to {to:.3} s ({length:.0} ms), lag {lag:.0} ms: {heard:?}"
                )
            }
            "segment_lost" => {
                let n = all.remove("segment").map(|n| format!("#{n} ")).unwrap_or_default();
                format!("LOST {n}at {}: {}", text(all, "stage"), text(all, "reason"))
            }
            "provider" => {
                format!("{} {} is {}", text(all, "stage"), text(all, "provider"), text(all, "state"))
            }
            "fail_open" => {
                let active = all.remove("active") == Some(Value::Bool(true));
                let speaker = self.named(number(all, "speaker") as u64);
                let what = if active { "hears the own voice of" } else { "hears translations again of" };
                format!("{what} {speaker}: {}", text(all, "reason"))
            }
            other => other.replace('_', " "),
        };
        for (key, value) in all.iter() {
            let shown = match value {
                Value::Number(n) if key.ends_with("_ms") => format!("{:.0}", n.as_f64().unwrap_or_default()),
                Value::Array(_) | Value::Object(_) if key == "stages_ms" => continue,
                Value::Object(map) if map.is_empty() => continue,
                Value::String(text) if text.is_empty() => continue,
                other => other.to_string(),
            };
            line.push_str(&format!("; {key} {shown}"));
        }
        Some(line)
    }
}

fn text(all: &mut Map<String, Value>, key: &str) -> String {
    match all.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn number(all: &mut Map<String, Value>, key: &str) -> f64 {
    all.remove(key).and_then(|value| value.as_f64()).unwrap_or_default()
}
