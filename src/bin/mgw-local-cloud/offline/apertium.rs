//! Apertium kept running: one chain of its programs per direction, one text after another.
//!
//! The chain is the direction's `.mode` file with `-z` added to each program: a NUL byte ends a text, and each
//! program then writes out all it has and a NUL. A text takes 1 to 2 ms so, and 140 ms with the `apertium` script.
//! The text must end in an empty superblank `[]`, or the tagger keeps waiting for what follows the last word.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::language;
use super::places::{Places, error, unavailable};
use crate::engine::{EngineError, EngineErrorKind};

/// How long a text may take; loading the dictionaries after a restart is included.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest text in bytes: what fits into a pipe's buffer, so that a write never waits.
const LONGEST: usize = 16 * 1024;

/// One direction of translation.
pub struct Direction {
    mode: &'static str,
    places: Places,
    chain: Mutex<Option<Chain>>,
}

/// The running programs.
struct Chain {
    children: Vec<Child>,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already cannot be killed and need not be.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Direction {
    /// A direction by its mode's name, such as `eng-spa`. Nothing is started yet.
    pub fn new(mode: &'static str, places: &Places) -> Self {
        Self { mode, places: places.clone(), chain: Mutex::new(None) }
    }

    #[cfg(test)]
    /// Process ids of the running programs.
    pub fn pids(&self) -> Vec<u32> {
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.as_ref().map(|c| c.children.iter().map(Child::id).collect()).unwrap_or_default()
    }

    /// Translates; starts the chain if it does not run, and once more if it has died.
    pub fn translate(&self, text: &str) -> Result<String, EngineError> {
        if text.len() > LONGEST {
            return Err(error(EngineErrorKind::BadInput, "the text is too long to translate"));
        }
        let english = self.mode.starts_with("eng");
        let (prepared, courtesy) = prepare(text, english);
        if !prepared.chars().any(char::is_alphanumeric) {
            return Ok(if courtesy { "Por favor".into() } else { text.trim().to_owned() });
        }
        let sentence = prepared.ends_with(['.', '?', '!', '…']);
        let raw = self.exchange(&escape(&prepared, !sentence))?;
        Ok(tidy(&raw, text, &prepared, sentence, courtesy))
    }

    fn exchange(&self, line: &[u8]) -> Result<String, EngineError> {
        let mut slot = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            if slot.is_none() {
                *slot = Some(self.start()?);
            }
            if let Some(chain) = slot.as_mut() {
                let sent = chain.input.write_all(line).and_then(|()| chain.input.flush());
                // When one program dies the others still write out what they have: an answer is whole only if the
                // superblank at its end has come through.
                if sent.is_ok()
                    && let Ok(answer) = chain.output.recv_timeout(LIMIT)
                    && let Some(whole) = answer.trim_ascii_end().strip_suffix(b"[]")
                {
                    return Ok(String::from_utf8_lossy(whole).into_owned());
                }
            }
            *slot = None;
        }
        Err(error(EngineErrorKind::Unavailable, format!("Apertium {} does not answer", self.mode)))
    }

    fn start(&self) -> Result<Chain, EngineError> {
        let failed = |why: String| error(EngineErrorKind::Unavailable, format!("Apertium: {why}"));
        let path = self.places.modes.join(format!("{}.mode", self.mode));
        let script = std::fs::read_to_string(&path)
            .map_err(|_| unavailable(&[(path.display().to_string(), "apertium-eng-spa")]))?;
        let mut children: Vec<Child> = Vec::new();
        let mut input = None;
        let mut previous = None;
        for stage in script.split('|') {
            let mut words = stage.split_whitespace();
            let name = words.next().ok_or_else(|| failed("a mode file has an empty stage".into()))?;
            let mut command = Command::new(self.places.need(name, "apertium")?);
            command.arg("-z");
            for word in words {
                match word {
                    // `$1` is the generator's mode, `-n`: do not mark unknown words. `$2` is the tagger's, empty.
                    "$1" => drop(command.arg("-n")),
                    "$2" => {}
                    word => drop(command.arg(word.trim_matches('\''))),
                }
            }
            command.stdin(previous.take().map_or_else(Stdio::piped, Stdio::from));
            let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            let mut child = match spawned {
                Ok(child) => child,
                Err(why) => {
                    for mut started in children {
                        let _ = started.kill();
                        let _ = started.wait();
                    }
                    return Err(failed(why.to_string()));
                }
            };
            if input.is_none() {
                input = child.stdin.take();
            }
            previous = child.stdout.take();
            children.push(child);
        }
        let (Some(input), Some(output)) = (input, previous) else {
            return Err(failed("a mode file is empty".into()));
        };
        let (sender, receiver) = sync_channel(1);
        let chain = Chain { children, input, output: receiver };
        std::thread::Builder::new()
            .name("offline-apertium".into())
            .spawn(move || {
                let mut reader = BufReader::new(output);
                let mut answer = Vec::new();
                while reader.read_until(0, &mut answer).is_ok() && answer.pop() == Some(0) {
                    if sender.send(std::mem::take(&mut answer)).is_err() {
                        break;
                    }
                }
            })
            .map_err(|why| failed(why.to_string()))?;
        Ok(chain)
    }
}

/// Makes a recogniser's plain words what Apertium expects: one line, capitals of names, a capital at the start.
/// "please" at either end is taken off, because Apertium takes it for the verb; returns whether it was there.
fn prepare(text: &str, english: bool) -> (String, bool) {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| if english { language::english_case(word) } else { word.to_owned() })
        .collect();
    let mut line = words.join(" ");
    let mut courtesy = false;
    if english {
        let bare = line.trim_end_matches(['.', '!', '?', ',', ' ']);
        let end = line[bare.len()..].trim_start_matches([',', ' ']).to_owned();
        if let Some(head) = strip_end(bare, "please") {
            courtesy = true;
            line = format!("{}{end}", head.trim_end_matches([',', ' ']));
        } else if line
            .get(..7)
            .is_some_and(|s| s[..6].eq_ignore_ascii_case("please") && !s.as_bytes()[6].is_ascii_alphabetic())
        {
            courtesy = true;
            line = line[7..].trim_start_matches([',', ' ']).to_owned();
        }
    }
    (language::capitalise(&line), courtesy)
}

fn strip_end<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(word.len())?;
    let tail = text.get(at..)?;
    let head = &text[..at];
    let whole = head.is_empty() || head.ends_with([' ', ',']);
    (whole && tail.eq_ignore_ascii_case(word)).then_some(head)
}

/// Apertium's stream format: its special characters escaped, a full stop if there is none, `[]`, NUL.
fn escape(text: &str, add_stop: bool) -> Vec<u8> {
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars().filter(|c| !c.is_control()) {
        if "[]{}^$/\\@<>#*~".contains(c) {
            line.push('\\');
        }
        line.push(c);
    }
    line.push_str(if add_stop { ".[]\0" } else { "[]\0" });
    line.into_bytes()
}

/// Takes marks, superblanks and doubled blanks out of an answer and gives it the source's capitals and stop.
fn tidy(raw: &str, source: &str, prepared: &str, had_stop: bool, courtesy: bool) -> String {
    let mut plain = String::with_capacity(raw.len());
    let mut letters = raw.chars();
    while let Some(c) = letters.next() {
        match c {
            '\\' => plain.extend(letters.next()),
            '*' | '#' | '@' => {}
            c => plain.push(c),
        }
    }
    // Capitals that the source has not (Apertium leaves some from its rules) are taken back.
    let names = prepared
        .split_whitespace()
        .skip(1)
        .any(|word| word.starts_with(char::is_uppercase) && word != "I" && !word.starts_with("I'"));
    let mut words: Vec<String> = Vec::new();
    let mut start = true;
    for word in plain.split_whitespace() {
        let letters = word.trim_matches(|c: char| !c.is_alphabetic());
        let keep = start || names || language::english_case(&letters.to_lowercase()) == letters;
        words.push(if keep { word.to_owned() } else { language::uncapitalise(word) });
        start = word.ends_with(['.', '?', '!']);
    }
    let mut text = words.join(" ").replace(" ,", ",").replace(" .", ".").replace(" ?", "?");
    let stop: String =
        if had_stop { text.chars().rev().take_while(|c| ".?!…".contains(*c)).collect() } else { String::new() };
    text.truncate(text.trim_end_matches(['.', '?', '!', '…', ' ']).len());
    if courtesy {
        text.push_str(", por favor");
    }
    text.push_str(&stop);
    let lower = source.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_lowercase);
    let pronoun = text.starts_with("I ") || text.starts_with("I'");
    if lower && !pronoun { language::uncapitalise(&text) } else { language::capitalise(&text) }
}
