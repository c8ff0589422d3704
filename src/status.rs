//! Status codes of the C ABI, their numbers (never used again) and texts.
//!
//! 0 is success, positive numbers are notes, negative ones errors.

/// Declares the codes once: number, C name by cbindgen, and the text of `mgw_status_str`.
macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $n:literal, $text:literal;)+) => {
        /// Result of every call: 0 ok, positive notes, negative errors.
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Status { $($(#[doc = $doc])+ $name = $n,)+ }
        impl Status {
            /// Every code, for tests and documentation.
            pub const ALL: &'static [Status] = &[$(Status::$name,)+];
            /// One sentence for the header.
            pub fn doc(self) -> &'static str { match self { $(Status::$name => concat!($($doc),+).trim_ascii(),)+ } }
            /// What it means and what to do.
            pub fn text(self) -> &'static str { match self { $(Status::$name => $text,)+ } }
            /// The code's C string.
            pub fn c_text(self) -> &'static std::ffi::CStr {
                match self { $(Status::$name => {
                    const S: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) { Ok(s) => s, Err(_) => panic!("text with NUL") };
                    S
                })+ }
            }
            /// The status with this number, if there is one.
            pub fn from_number(n: i32) -> Option<Status> { match n { $($n => Some(Status::$name),)+ _ => None } }
        }
    };
}

statuses! {
    /// Done.
    Ok = 0, "done";
    /// Note from pull: nothing to hear; the frame is silence.
    Silence = 1, "nothing to hear: the frame is silence";
    /// Note from pull: the engine shows no life. Use the frame you hold (the original voice).
    Original = 2, "the engine shows no life: let the original voice pass";
    /// Note from next_event: no event waits.
    Empty = 3, "no event waits: poll mgw_event_fd, then call again";
    /// A required pointer is NULL.
    ErrNull = -1, "a required pointer is NULL: see the function's NULL rule in mgw.h";
    /// The handle was never valid or its session is closed.
    ErrHandle = -2, "stale or unknown handle: the session is closed or never was; stop using this handle";
    /// The frame has no samples.
    ErrEmpty = -3, "the frame is empty: give at least 1 sample";
    /// The frame is longer than 120 ms.
    ErrFrameTooLong = -4, "the frame is longer than 120 ms at the session's rate: split it, count is in samples, not bytes";
    /// No such key.
    ErrUnknownKey = -5, "unknown configuration key: see docs/configuration.md; the error text names the nearest key";
    /// The key exists, the value is not allowed.
    ErrBadValue = -6, "value not allowed for this key: the error text says what is";
    /// No such profile.
    ErrUnknownProfile = -7, "unknown profile: define [profile.NAME] in the configuration; the error text names the nearest";
    /// Another thread is in the same call for the same side of this session.
    ErrBusy = -8, "another thread is pushing (or pulling) on this session: use one thread for each side";
    /// The process was forked; the library belongs to the parent.
    ErrForked = -9, "called in a forked child: load and create mgw after fork, in the process that uses it";
    /// The gateway was shut down.
    ErrShutdown = -10, "the gateway was shut down: create a new one";
    /// max_sessions reached.
    ErrLimit = -11, "limit reached: max_sessions are open; close some or raise max_sessions";
    /// The buffer is too short; the needed length was written and nothing was consumed.
    ErrBufferTooShort = -12, "buffer too short: the needed length was written to len, nothing was consumed; call again";
    /// The text is not UTF-8 or holds a NUL.
    ErrText = -13, "text is not valid UTF-8";
    /// Reading a file failed.
    ErrFile = -14, "the file cannot be read: the error text says why";
    /// The file or JSON text is malformed.
    ErrSyntax = -15, "malformed configuration: the error text names line and column";
    /// Not a sample rate that mgw carries.
    ErrRate = -16, "unknown sample rate: use 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000 or 192000";
    /// Not a direction, mode, verb or digit of the header.
    ErrArgument = -17, "argument out of range: use the constants of mgw.h";
    /// A queue inside is full; nothing was taken.
    ErrAgain = -18, "too many commands at once: try again after the next frame";
    /// The deadline passed; what was left was ended by force.
    ErrTimeout = -19, "the deadline passed: what was left was ended by force";
    /// Threads, memory or descriptors could not be had.
    ErrResources = -20, "the system refused threads, memory or descriptors: the error text says which";
    /// The key cannot change in mid-call.
    ErrNotLive = -21, "this key cannot change in mid-call: set it in the profile or in the session's options";
    /// A configuration lacks something (a key, a language a provider cannot do).
    ErrConfig = -22, "the configuration is incomplete or contradictory: the error text says what to set";
    /// A panic was caught inside the library.
    ErrInternal = -99, "a fault inside mgw was caught: the call did nothing; please report it with the log";
}
