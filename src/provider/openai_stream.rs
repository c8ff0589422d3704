//! Reads a chat completion as it arrives: server-sent events (WHATWG HTML 9.2) or one JSON object, cut anywhere.

use super::StageError;
use super::openai::{Answer, wrong};

/// Most bytes of a reply; a translation is far shorter, even with every word in an event of its own.
const MOST_REPLY: usize = 1 << 20;

/// Takes the pieces of a reply in, in any cut.
#[derive(Debug, Default)]
pub struct Reader {
    answer: Answer,
    kind: Kind,
    /// The line that has begun, or the object so far.
    held: Vec<u8>,
    /// The `data` lines of the event that has begun.
    data: Option<Vec<u8>>,
    /// The event that has begun is called `error`.
    error: bool,
    /// The last byte was a carriage return, so a line feed belongs to it.
    after_return: bool,
    done: bool,
    taken: usize,
}

/// What the reply is, told by its first byte: some servers ignore `stream`, and some name the wrong content type.
#[derive(Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Unknown,
    Events,
    Object,
}

impl Reader {
    /// Takes the next piece in.
    ///
    /// # Errors
    /// What the vendor tells in the middle of the stream; `RetryNow` for what is not as promised or too long;
    /// `BadRequest` where the model did not come to a proper end.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), StageError> {
        self.taken = self.taken.saturating_add(piece.len());
        if self.taken > MOST_REPLY {
            return Err(super::StageError::new(
                super::ErrorClass::RetryNow,
                "reply_too_long",
                "The reply is too long.",
            ));
        }
        for &byte in piece {
            if self.kind == Kind::Unknown {
                match byte {
                    // A byte order mark may stand at the beginning.
                    b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF => continue,
                    b'{' => self.kind = Kind::Object,
                    _ => self.kind = Kind::Events,
                }
            }
            if self.kind == Kind::Object {
                self.held.push(byte);
                continue;
            }
            let second_half = std::mem::take(&mut self.after_return) && byte == b'\n';
            self.after_return = byte == b'\r';
            match byte {
                _ if second_half => {}
                b'\r' | b'\n' => self.line()?,
                _ => self.held.push(byte),
            }
        }
        Ok(())
    }

    /// Whether the reply has said that this was all.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The translation, when the reply is done or has ended.
    ///
    /// # Errors
    /// As for [`push`](Self::push); half a translation is an error.
    pub fn finish(mut self) -> Result<String, StageError> {
        if self.kind == Kind::Object {
            self.answer.take(&self.held, false)?;
            // A whole object is a whole answer, also where a server gives no reason for its end.
            return self.answer.finish(true);
        }
        // The last event counts without the blank line behind it.
        self.line()?;
        self.event()?;
        self.answer.finish(self.done)
    }

    fn line(&mut self) -> Result<(), StageError> {
        let line = std::mem::take(&mut self.held);
        if line.is_empty() {
            return self.event();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = colon.map_or((&line[..], &[][..]), |at| (&line[..at], &line[at + 1..]));
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let data = self.data.get_or_insert_default();
                if !data.is_empty() {
                    data.push(b'\n');
                }
                data.extend_from_slice(value);
            }
            b"event" => self.error = value == b"error",
            // Comments (an empty name), ids and whatever else there is.
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self) -> Result<(), StageError> {
        let (data, error) = (self.data.take(), std::mem::take(&mut self.error));
        match data.as_deref().map(<[u8]>::trim_ascii) {
            None | Some(b"") => Ok(()),
            _ if self.done => Ok(()),
            Some(b"[DONE]") => {
                self.done = true;
                Ok(())
            }
            Some(json) if std::str::from_utf8(json).is_err() => Err(wrong("The reply is not UTF-8.")),
            Some(json) => self.answer.take(json, error),
        }
    }
}

#[cfg(test)]
#[path = "openai_stream_tests.rs"]
mod tests;
