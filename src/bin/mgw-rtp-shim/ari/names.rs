//! Names that we give to bridges and channels in Asterisk, so that a later run knows which are ours.
//!
//! `mgw-APP-RUN-NUMBER` is a bridge, with `-em`, `-em2`, `-em3` ... its external media channels, with `-out` a channel that we
//! dialled. RUN is 8 hexadecimal digits. The application's name is in it since two shims may share an Asterisk.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gives names of one run.
pub struct Names {
    prefix: String,
    run: String,
    next: AtomicU64,
}

/// What one of our names stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bridge,
    /// External media.
    Media,
    /// Dialled by us.
    Out,
}

/// The names of one call's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallNames {
    pub bridge: String,
    /// The external media of now.
    pub media: String,
    media_made: u32,
}

impl CallNames {
    /// A new name for external media, since the former one failed.
    pub fn next_media(&mut self) {
        self.media_made += 1;
        self.media = format!("{}-em{}", self.bridge, self.media_made);
    }
}

impl Names {
    pub fn new(app: &str, run: u32) -> Names {
        Names { prefix: format!("mgw-{app}-"), run: format!("{run:08x}"), next: AtomicU64::new(1) }
    }

    fn next(&self) -> String {
        format!("{}{}-{}", self.prefix, self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Names for a call.
    pub fn call(&self) -> CallNames {
        let bridge = self.next();
        CallNames { media: format!("{bridge}-em"), media_made: 1, bridge }
    }

    /// A name for a channel that we dial.
    pub fn out(&self) -> String {
        format!("{}-out", self.next())
    }

    /// What an id stands for, if it is a name of this application, of this run or another.
    pub fn kind(&self, id: &str) -> Option<Kind> {
        let (run, rest) = id.strip_prefix(&self.prefix)?.split_at_checked(8)?;
        if !run.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let rest = rest.strip_prefix('-')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match (digits, &rest[digits..]) {
            (0, _) => None,
            (_, "") => Some(Kind::Bridge),
            (_, "-out") => Some(Kind::Out),
            (_, more) => {
                let number = more.strip_prefix("-em")?;
                number.bytes().all(|b| b.is_ascii_digit()).then_some(Kind::Media)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_known_and_no_others() {
        let names = Names::new("mgw", 0x0012_abcd);
        let mut call = names.call();
        let first_media = call.media.clone();
        call.next_media();
        assert_eq!((call.bridge.as_str(), call.media.as_str()), ("mgw-mgw-0012abcd-1", "mgw-mgw-0012abcd-1-em2"));
        call.next_media();
        assert_eq!(names.kind(&names.out()), Some(Kind::Out));
        for (id, kind) in [
            (call.bridge.as_str(), Some(Kind::Bridge)),
            (&first_media, Some(Kind::Media)),
            ("mgw-mgw-0012abcd-1-em2", Some(Kind::Media)),
            (&call.media, Some(Kind::Media)),
            ("mgw-mgw-ffffffff-77-em10", Some(Kind::Media)),
            ("mgw-mgw-ffffffff-77-em2;2", None),
            ("mgw-mgw-ffffffff-77-e", None),
            ("mgw-mgw-ffffffff-77", Some(Kind::Bridge)),
            ("mgw-mgw-ffffffff-77-out;2", None),
            ("mgw-mgw-fffffff-77", None),
            ("mgw-mgw-FFFFFFFF-77", None),
            ("mgw-mgw-ffffffff-", None),
            ("mgw-mgw-ffffffff-x", None),
            ("mgw-mgw-", None),
            ("mgw-mgw-ffffffé-1", None),
            ("mgw-other-ffffffff-77", None),
            ("1795182702.1", None),
            ("", None),
        ] {
            assert_eq!(names.kind(id), kind, "{id}");
        }
    }

    #[test]
    fn an_application_whose_name_begins_like_another_s_is_left_alone() {
        let (short, long) = (Names::new("a", 1), Names::new("a-12345678", 2));
        assert_eq!(short.kind(&long.call().media), None);
        assert_eq!(long.kind(&short.call().media), None);
    }
}
