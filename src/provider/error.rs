//! What the vendors' errors have in common: making a [`StageError`] of a status, a header and a text
//! that nobody vouches for.

use std::time::Duration;

use http::HeaderMap;

use super::{ErrorClass, StageError};

/// Longest message and code taken from a vendor, in characters.
const MAX_MESSAGE: usize = 240;
const MAX_CODE: usize = 64;
/// Longest pause a vendor may ask for; more would leave a call dead on a typing error of theirs.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// So many characters in a row are no coincidence.
const ECHO: usize = 24;
/// So many characters of its beginning at the end of what was clipped are none either.
const CLIPPED_ECHO: usize = 8;
/// A text in a code that is at least so long, in characters, is no coincidence.
const SHORTEST_ECHO: usize = 5;

impl StageError {
    /// An error with a code and a sentence of bounded length, free of control characters.
    pub fn new(class: ErrorClass, code: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            class,
            code: clean(code.as_ref(), MAX_CODE),
            message: clean(message.as_ref(), MAX_MESSAGE),
            request_id: None,
        }
    }

    /// The same with the vendor's request id, if there is one.
    pub fn with_request_id(mut self, id: Option<&str>) -> Self {
        if let Some(id) = id.map(|id| clean(id, MAX_CODE)).filter(|id| !id.is_empty()) {
            self.request_id = Some(id);
        }
        self
    }

    /// The same without any of `private` (a key, a text that was said) in what a vendor echoed.
    pub fn without(mut self, private: &[&str]) -> Self {
        const HIDDEN: &str = "the provider's words are not shown because they repeat private data";
        for text in private.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            // A vendor may echo the beginning only, or clip what it echoes.
            let head: String = text.chars().take(ECHO).collect();
            if self.message.contains(&head) || repeats_part(&self.message, text) {
                HIDDEN.clone_into(&mut self.message);
            }
            // A code such as `429` may hold a short word by chance; what is longer was echoed.
            if self.code.contains(&head) && head.chars().count() >= SHORTEST_ECHO {
                HIDDEN.clone_into(&mut self.code);
            }
            if self.request_id.as_deref().is_some_and(|id| id.contains(&head) || repeats_part(id, text)) {
                self.request_id = None;
            }
        }
        self
    }

    /// Whether trying again without a person's help makes sense at once or after a short pause.
    pub fn is_passing(&self) -> bool {
        matches!(self.class, ErrorClass::RetryNow | ErrorClass::RetryLater(_))
    }
}

/// Whether `said` repeats some piece from inside `private`, or ends with its beginning.
fn repeats_part(said: &str, private: &str) -> bool {
    // As it looks in what was cleaned.
    let private: Vec<char> = clean(private, usize::MAX).chars().collect();
    let clipped =
        (CLIPPED_ECHO..ECHO.min(private.len() + 1)).any(|n| said.ends_with(&String::from_iter(&private[..n])));
    clipped || private.windows(ECHO).any(|window| said.contains(&String::from_iter(window)))
}

/// One line of at most `max` characters: control and bidi characters become spaces.
pub fn clean(text: &str, max: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() || is_bidi_control(c) { ' ' } else { c });
    let line: String = plain.take(max.saturating_mul(4)).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(max).collect()
}

/// Characters that change the direction of the text around them (Unicode UAX 9).
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A header's text, if it is there and is text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty())
}

/// The pause that a reply asks for: `Retry-After` in seconds or as a date (RFC 9110 10.2.3), or the
/// `retry-after-ms` of OpenAI and its like, which is finer.
///
/// A date is compared with the `Date` of the same reply, so no clock of ours has to be right; without one it says
/// nothing. A date in the past is no pause at all.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| header(headers, name)?.parse::<f64>().ok();
    let ms = number("retry-after-ms").and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    let seconds = || number("retry-after").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let date = |name| httpdate::parse_http_date(header(headers, name)?).ok();
    let until = || Some(date("retry-after")?.duration_since(date("date")?).unwrap_or_default());
    Some(ms.or_else(seconds).or_else(until)?.min(MAX_RETRY_AFTER))
}

/// The class that a status has with every vendor, unless the vendor's own code says otherwise.
pub fn class_of_status(status: u16, headers: &HeaderMap) -> ErrorClass {
    match status {
        400 | 413 | 414 | 415 | 422 => ErrorClass::BadRequest,
        402 => ErrorClass::ProviderOut,
        401..=407 => ErrorClass::Configuration,
        408 => ErrorClass::RetryNow,
        429 | 500..=599 => ErrorClass::RetryLater(retry_after(headers)),
        // A redirect is not followed: it would carry the key to another host.
        300..=399 => ErrorClass::Configuration,
        _ => ErrorClass::BadRequest,
    }
}

/// A sentence for a status whose body says nothing.
pub fn sentence_of_status(status: u16) -> &'static str {
    match status {
        300..=399 => "The provider sent us elsewhere; check the base URL.",
        400 => "The provider does not accept the request.",
        401 | 403 => "The provider does not accept the key, or the key may not do this.",
        402 => "The account has no credit left.",
        404 => "The provider does not know what was asked for; check model, voice and base URL.",
        408 | 504 => "The provider took too long.",
        413 => "The request is too large.",
        429 => "Too many requests.",
        500..=599 => "The provider has an internal fault or is overloaded.",
        _ => "The provider answered with an unexpected status.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_and_bounded() {
        for (text, want) in [
            ("3", Some(3.0)),
            (" 0 ", Some(0.0)),
            ("1.5", Some(1.5)),
            ("99999999", Some(300.0)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e400", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().expect("a header"));
            assert_eq!(retry_after(&headers), want.map(Duration::from_secs_f64), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn dates_and_milliseconds_are_read() {
        let now = "Wed, 21 Oct 2026 07:28:00 GMT";
        for (given, want) in [
            (vec![("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT"), ("date", now)], Some(7.0)),
            (vec![("retry-after", "Wednesday, 21-Oct-26 07:28:07 GMT"), ("date", now)], Some(7.0)),
            (vec![("retry-after", "Wed Oct 21 07:28:07 2026"), ("date", now)], Some(7.0)),
            (vec![("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), ("date", now)], Some(0.0)),
            (vec![("retry-after", "Tue, 21 Oct 2036 07:28:00 GMT"), ("date", now)], Some(300.0)),
            (vec![("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT")], None),
            (vec![("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT"), ("date", "today")], None),
            (vec![("retry-after", "Wed, 99 Oct 2026 07:28:07 GMT"), ("date", now)], None),
            (vec![("retry-after-ms", "250"), ("retry-after", "1")], Some(0.25)),
            (vec![("retry-after-ms", "soon"), ("retry-after", "1")], Some(1.0)),
            (vec![("retry-after-ms", "-5")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &given {
                headers.insert(*name, value.parse().expect("a header"));
            }
            assert_eq!(retry_after(&headers), want.map(Duration::from_secs_f64), "{given:?}");
        }
    }

    #[test]
    fn vendor_text_is_one_bounded_line() {
        for (text, want) in
            [("plain", "plain"), ("two\r\nlines\0", "two lines"), ("turn\u{202E}ed", "turn ed"), ("", "")]
        {
            assert_eq!(clean(text, 100), want, "{text:?}");
        }
        assert_eq!(clean(&"é".repeat(1000), 10).chars().count(), 10);
    }

    #[test]
    fn private_text_is_not_repeated() {
        let key = "0123456789abcdef0123456789abcdef01234567";
        let error = StageError::new(ErrorClass::BadRequest, "400", format!("Bad key {key}!"))
            .with_request_id(Some(key))
            .without(&[key, "", "something else"]);
        assert!(!format!("{error:?}").contains(&key[..24]), "{error:?}");
        let said = "what I have to say is not for the ears of your log";
        for echo in [
            format!("cannot say: {}", &said[14..40]),
            format!("{} {}", "x".repeat(MAX_MESSAGE - 10), said),
            "cannot say: what I  have\nto say is not".to_owned(),
        ] {
            let error = StageError::new(ErrorClass::BadRequest, "400", &echo).without(&[said]);
            assert!(error.message.ends_with("private data"), "{echo}: {error:?}");
        }
        let kept = StageError::new(ErrorClass::BadRequest, "400", "Bad language").without(&[key]);
        assert_eq!(kept.message, "Bad language");
        let code = |code, said| StageError::new(ErrorClass::BadRequest, code, "").without(&[said]).code;
        assert_eq!(code("429", "4"), "429", "a code is not lost because somebody said a number");
        assert!(!code("bad word: canary", "canary").contains("canary"));
    }
}
