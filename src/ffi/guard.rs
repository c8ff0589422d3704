//! What surrounds every entry: the forked child is turned away, a panic becomes a status.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::Level;

use super::args::ErrorText;
use super::mgw_status;
use crate::status::Status;
use crate::{Error, log, sys};

/// Runs one entry. Costs an atomic load and an unwind table; allocates only after a panic.
#[inline]
pub(super) fn guard(call: impl FnOnce() -> Result<Status, Status>) -> mgw_status {
    if sys::forked() {
        return Status::ErrForked as mgw_status;
    }
    // What a panic leaves half done is behind handles, whose owners (locks that forgive poisoning,
    // the media port's release guards) stay usable.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status) | Err(status)) => status as mgw_status,
        Err(payload) => {
            caught(payload);
            Status::ErrInternal as mgw_status
        }
    }
}

/// As [`guard`], for entries with an error text: every failure writes one.
pub(super) fn guard_text(text: ErrorText, call: impl FnOnce() -> Result<(), Error>) -> mgw_status {
    let mut message = None;
    let number = guard(|| match call() {
        Ok(()) => Ok(Status::Ok),
        Err(error) => {
            message = Some(error.message);
            Err(error.status)
        }
    });
    if number < 0 {
        let general = Status::from_number(number).map_or("unknown status", Status::text);
        let own = message.as_deref().filter(|text| !text.is_empty());
        text.write(own.unwrap_or(general));
    }
    number
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) {
    // The payload's own drop may panic as well; the host must not see that either.
    let logged = catch_unwind(AssertUnwindSafe(|| {
        let text = format!("a panic was caught at the C boundary: {}", log::panic_text(payload.as_ref()));
        log::report(Level::ERROR, "mgw::ffi", text);
        drop(payload);
    }));
    if let Err(second) = logged {
        std::mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CStr, c_char};

    fn with_text(cap: usize, call: impl FnOnce() -> Result<(), Error>) -> (mgw_status, String) {
        let mut buf = [0x7f as c_char; 256];
        // SAFETY: the buffer outlives the call and has at least `cap` bytes.
        let text = unsafe { ErrorText::new(buf.as_mut_ptr(), cap) };
        let number = guard_text(text, call);
        // SAFETY: either the text was written with its NUL, or the filler is ended here.
        let seen = unsafe {
            *buf.as_mut_ptr().add(255) = 0;
            CStr::from_ptr(buf.as_ptr())
        };
        (number, seen.to_string_lossy().into_owned())
    }

    #[test]
    fn a_panic_becomes_a_status_with_a_text() {
        assert_eq!(guard(|| panic!("on purpose")), Status::ErrInternal as i32);
        let (number, text) = with_text(256, || panic!("on purpose"));
        assert_eq!((number, text.as_str()), (Status::ErrInternal as i32, Status::ErrInternal.text()));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_caught_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(guard(|| std::panic::panic_any(Bomb)), Status::ErrInternal as i32);
    }

    #[test]
    fn error_texts_are_cut_at_a_character_and_end_with_nul() {
        let fail = || Err(Error { status: Status::ErrBadValue, message: "naïve".into() });
        assert_eq!(with_text(256, fail), (Status::ErrBadValue as i32, "naïve".into()));
        // 'ï' takes bytes 2 and 3, so 3 bytes and a NUL hold "na" only.
        assert_eq!(with_text(4, fail).1, "na");
        assert_eq!(with_text(5, fail).1, "naï");
        assert_eq!(with_text(1, fail).1, "");
        assert_eq!(with_text(0, fail).1.len(), 255, "nothing was written");
        let (number, text) = with_text(256, || Ok(()));
        assert_eq!((number, text.len()), (0, 255), "nothing is written on success");
    }

    #[test]
    fn an_error_without_a_text_of_its_own_gets_the_general_one() {
        let fail = || Err(Error { status: Status::ErrShutdown, message: String::new() });
        assert_eq!(with_text(256, fail), (Status::ErrShutdown as i32, Status::ErrShutdown.text().into()));
    }
}
