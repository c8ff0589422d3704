//! C's arguments into safe values, and results back: texts, frames, buffers, error texts.

use std::ffi::{CStr, c_char};

use crate::log;
use crate::status::Status;

/// The number of the ABI, from `[package.metadata.mgw]` in Cargo.toml.
pub(super) const ABI_VERSION: u32 = parse(env!("MGW_ABI_VERSION"));

const fn parse(digits: &str) -> u32 {
    let digits = digits.as_bytes();
    let (mut number, mut i) = (0, 0);
    while i < digits.len() {
        assert!(digits[i].is_ascii_digit());
        number = number * 10 + (digits[i] - b'0') as u32;
        i += 1;
    }
    number
}

/// Longest frame at the highest rate (120 ms at 192 kHz): no more memory than that is ever looked at.
const MAX_FRAME: usize = 192 * 120;

/// A text from C.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and unchanged for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Status> {
    if text.is_null() {
        return Err(Status::ErrNull);
    }
    // SAFETY: not NULL; the caller vouches for the NUL at its end and for its life.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Status::ErrText)
}

/// A frame to read.
///
/// # Safety
/// `samples` is NULL or points to `count` samples that are unchanged for `'a`.
#[inline]
pub(super) unsafe fn frame<'a>(samples: *const i16, count: usize) -> Result<&'a [i16], Status> {
    check_frame(samples, count)?;
    // SAFETY: not NULL, aligned, at most MAX_FRAME samples; the caller vouches for their number and life.
    Ok(unsafe { std::slice::from_raw_parts(samples, count) })
}

/// A frame to fill.
///
/// # Safety
/// `samples` is NULL or points to `count` samples that nobody else touches for `'a`.
#[inline]
pub(super) unsafe fn frame_mut<'a>(samples: *mut i16, count: usize) -> Result<&'a mut [i16], Status> {
    check_frame(samples, count)?;
    // SAFETY: as in `frame`; the caller vouches that nobody else touches them meanwhile.
    Ok(unsafe { std::slice::from_raw_parts_mut(samples, count) })
}

#[inline]
fn check_frame(samples: *const i16, count: usize) -> Result<(), Status> {
    if samples.is_null() {
        Err(Status::ErrNull)
    } else if count == 0 {
        Err(Status::ErrEmpty)
    } else if count > MAX_FRAME {
        Err(Status::ErrFrameTooLong)
    } else if !samples.is_aligned() {
        Err(Status::ErrArgument)
    } else {
        Ok(())
    }
}

/// Writes a result.
///
/// # Safety
/// `out` is NULL, or valid for writing and aligned.
pub(super) unsafe fn write<T>(out: *mut T, value: T) -> Result<(), Status> {
    not_null(out)?;
    // SAFETY: not NULL; the caller vouches for the rest.
    unsafe { out.write(value) };
    Ok(())
}

/// For results that are only there after something was made: asks before anything is.
pub(super) fn not_null<T>(out: *mut T) -> Result<(), Status> {
    if out.is_null() { Err(Status::ErrNull) } else { Ok(()) }
}

/// A buffer of the caller for a text with its NUL, and where its length goes.
pub(super) struct TextOut {
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
}

impl TextOut {
    /// `buf` may be NULL if `cap` is 0: then only the length is asked for.
    ///
    /// # Safety
    /// While this value lives `buf` has `cap` bytes and `len` is valid, both for writing, unless NULL.
    pub(super) unsafe fn new(buf: *mut c_char, cap: usize, len: *mut usize) -> Result<Self, Status> {
        not_null(len)?;
        if cap > 0 {
            not_null(buf)?;
        }
        // No object is larger; a slice must not be either.
        Ok(TextOut { buf, cap: cap.min(isize::MAX as usize), len })
    }

    /// Copies the text, with its NUL; too short: tells what is needed.
    pub(super) fn put(&mut self, text: &str) -> Result<Status, Status> {
        if text.len() >= self.cap {
            return Err(self.too_short(text.len()));
        }
        self.room()[..text.len()].copy_from_slice(text.as_bytes());
        self.finish(text.len());
        Ok(Status::Ok)
    }

    /// Where the text goes; one byte is kept back for its NUL.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.cap == 0 {
            return &mut [];
        }
        // SAFETY: `new` saw that `buf` is not NULL if `cap` is above 0, and its caller vouched for `cap`
        // bytes that are ours while `self` lives.
        unsafe { std::slice::from_raw_parts_mut(self.buf.cast::<u8>(), self.cap - 1) }
    }

    /// The first `len` bytes of the room were written.
    pub(super) fn finish(&mut self, len: usize) {
        if len < self.cap {
            // SAFETY: `len` is below `cap`, so the NUL is inside the buffer; `len` is valid by `new`.
            unsafe {
                self.buf.add(len).write(0);
                self.len.write(len);
            }
        }
    }

    /// The text has `len` bytes: what the caller must give is one more.
    pub(super) fn too_short(&mut self, len: usize) -> Status {
        // SAFETY: `new` saw that it is not NULL and its caller vouched for it.
        unsafe { self.len.write(len.saturating_add(1)) };
        Status::ErrBufferTooShort
    }
}

/// The caller's buffer for the text of an error; without one the text is left out.
pub(super) struct ErrorText {
    buf: *mut c_char,
    cap: usize,
}

impl ErrorText {
    /// # Safety
    /// `buf` is NULL or has `cap` bytes for writing while this value lives.
    pub(super) unsafe fn new(buf: *mut c_char, cap: usize) -> Self {
        ErrorText { buf, cap }
    }

    /// Writes as much of the text as fits in whole characters, and a NUL.
    pub(super) fn write(&self, text: &str) {
        if self.buf.is_null() || self.cap == 0 {
            return;
        }
        let len = log::cut(text, self.cap - 1).len();
        // SAFETY: `len` is at most `cap - 1` and at most the text's length; the caller of `new` vouched
        // for `cap` bytes, which cannot overlap the text, since that is ours.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.buf.cast::<u8>(), len);
            self.buf.add(len).write(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cap: usize, text: &str) -> (Result<Status, Status>, usize, [c_char; 8]) {
        let (mut buf, mut len) = ([0x7f as c_char; 8], 99);
        // SAFETY: both outlive the value; `cap` is at most 8.
        let out = unsafe { TextOut::new(buf.as_mut_ptr(), cap, &mut len) };
        let result = out.and_then(|mut out| out.put(text));
        (result, len, buf)
    }

    #[test]
    fn a_text_needs_one_byte_more_than_its_length() {
        let (result, len, buf) = put(4, "abc");
        assert_eq!((result, len, buf[3]), (Ok(Status::Ok), 3, 0));
        let (result, len, buf) = put(3, "abc");
        assert_eq!((result, len), (Err(Status::ErrBufferTooShort), 4));
        assert_eq!(buf, [0x7f; 8], "nothing but the length is written");
        assert_eq!(put(0, "").0, Err(Status::ErrBufferTooShort));
        assert_eq!(put(1, "").0, Ok(Status::Ok));
    }

    #[test]
    fn frames_are_checked_before_memory_is_looked_at() {
        let samples = [0i16; 4];
        // SAFETY: none of these looks at memory, except the last, which has its 4 samples.
        unsafe {
            assert_eq!(frame(std::ptr::null(), 4), Err(Status::ErrNull));
            assert_eq!(frame(samples.as_ptr(), 0), Err(Status::ErrEmpty));
            assert_eq!(frame(samples.as_ptr(), usize::MAX), Err(Status::ErrFrameTooLong));
            assert_eq!(frame(samples.as_ptr().byte_add(1), 2), Err(Status::ErrArgument));
            assert_eq!(frame(samples.as_ptr(), 4), Ok(&samples[..]));
        }
    }
}
