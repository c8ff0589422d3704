//! PocketSphinx bound at run time, so that the binary builds and starts without it.
//!
//! Signatures are those of `pocketsphinx.h`, `ps_search.h`, `cmd_ln.h` and `err.h` of release 5prealpha
//! (Debian 12: `libpocketsphinx3`, `libsphinxbase3`).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

use libloading::Library;

type Ptr = *mut c_void;

/// Frames per second of the acoustic model; word times are counted in them.
pub const FRAMES_PER_SECOND: f64 = 100.0;

/// Places of the two libraries in [`Sphinx`].
const SPHINXBASE: usize = 0;
const POCKETSPHINX: usize = 1;

macro_rules! functions {
    ($($field:ident : fn($($arg:ty),*) $(-> $ret:ty)? = $library:expr;)*) => {
        /// The functions of the two libraries, and the libraries that keep them mapped.
        pub struct Sphinx {
            $($field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
            _libraries: [Library; 2],
        }
        impl Sphinx {
            fn bind(libraries: [Library; 2]) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of the headers of the release whose soname is loaded, and the
                // libraries are kept in the same value as the pointers.
                unsafe {
                    $(let $field = *libraries[$library].get(stringify!($field).as_bytes())?;)*
                    Ok(Self { $($field,)* _libraries: libraries })
                }
            }
        }
    };
}

functions! {
    err_set_callback: fn(Ptr, Ptr) = SPHINXBASE;
    err_set_logfp: fn(Ptr) = SPHINXBASE;
    cmd_ln_parse_r: fn(Ptr, *const c_void, c_int, *const *const c_char, c_int) -> Ptr = SPHINXBASE;
    cmd_ln_free_r: fn(Ptr) -> c_int = SPHINXBASE;
    logmath_exp: fn(Ptr, c_int) -> f64 = SPHINXBASE;
    ps_args: fn() -> *const c_void = POCKETSPHINX;
    ps_init: fn(Ptr) -> Ptr = POCKETSPHINX;
    ps_free: fn(Ptr) -> c_int = POCKETSPHINX;
    ps_add_word: fn(Ptr, *const c_char, *const c_char, c_int) -> c_int = POCKETSPHINX;
    ps_set_jsgf_string: fn(Ptr, *const c_char, *const c_char) -> c_int = POCKETSPHINX;
    ps_set_search: fn(Ptr, *const c_char) -> c_int = POCKETSPHINX;
    ps_start_utt: fn(Ptr) -> c_int = POCKETSPHINX;
    ps_process_raw: fn(Ptr, *const i16, usize, c_int, c_int) -> c_int = POCKETSPHINX;
    ps_end_utt: fn(Ptr) -> c_int = POCKETSPHINX;
    ps_get_hyp: fn(Ptr, *mut c_int) -> *const c_char = POCKETSPHINX;
    ps_get_logmath: fn(Ptr) -> Ptr = POCKETSPHINX;
    ps_seg_iter: fn(Ptr) -> Ptr = POCKETSPHINX;
    ps_seg_next: fn(Ptr) -> Ptr = POCKETSPHINX;
    ps_seg_word: fn(Ptr) -> *const c_char = POCKETSPHINX;
    ps_seg_frames: fn(Ptr, *mut c_int, *mut c_int) = POCKETSPHINX;
    ps_seg_prob: fn(Ptr, *mut c_int, *mut c_int, *mut c_int) -> c_int = POCKETSPHINX;
}

impl Sphinx {
    /// Loads both libraries, from `directory` or from where the system finds libraries.
    pub fn load(directory: Option<&Path>) -> Result<Self, String> {
        let open = |name: &str| {
            let path = directory.map_or_else(|| Path::new(name).to_owned(), |d| d.join(name));
            // SAFETY: these libraries run no code of their own when they are loaded.
            unsafe { Library::new(path) }.map_err(|error| error.to_string())
        };
        let libraries = [open("libsphinxbase.so.3")?, open("libpocketsphinx.so.3")?];
        let sphinx = Self::bind(libraries).map_err(|error| error.to_string())?;
        // SAFETY: a null callback is the documented way to silence the library, which would otherwise write
        // to standard error from every thread but the one that made a decoder.
        unsafe { (sphinx.err_set_callback)(null_mut(), null_mut()) };
        Ok(sphinx)
    }
}

/// A recognised piece: a word, a filler or a pause, in frames since the utterance began.
#[derive(Debug, Clone)]
pub struct Segment {
    /// As the dictionary has it, with `(2)` for a second pronunciation.
    pub word: String,
    /// First frame.
    pub start: i32,
    /// Last frame.
    pub end: i32,
    /// Posterior probability; 1 while the utterance is not finished.
    pub probability: f64,
}

/// One decoder: a model and the state of one utterance.
pub struct Decoder {
    sphinx: Arc<Sphinx>,
    handle: Ptr,
}

// SAFETY: a decoder has no thread affinity, and `&mut self` on every call keeps it to one thread at a time.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Makes a decoder from `-option value` pairs (`pocketsphinx_continuous` lists them).
    pub fn new(sphinx: &Arc<Sphinx>, options: &[(&str, &str)]) -> Result<Self, String> {
        let words = std::iter::once("mgw")
            .chain(options.iter().flat_map(|(name, value)| [*name, *value]))
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        let count = c_int::try_from(pointers.len()).map_err(|error| error.to_string())?;
        // SAFETY: the argument array lives through the call, which copies what it keeps. A null log file is the
        // library's own way to write none; it is a setting of the thread, hence here.
        let config = unsafe {
            (sphinx.err_set_logfp)(null_mut());
            (sphinx.cmd_ln_parse_r)(null_mut(), (sphinx.ps_args)(), count, pointers.as_ptr(), 0)
        };
        if config.is_null() {
            return Err("PocketSphinx refused its options".into());
        }
        // SAFETY: `config` is a live configuration; the decoder takes its own reference, ours is given back.
        let handle = unsafe {
            let handle = (sphinx.ps_init)(config);
            (sphinx.cmd_ln_free_r)(config);
            handle
        };
        if handle.is_null() {
            return Err("PocketSphinx could not load its models".into());
        }
        Ok(Self { sphinx: Arc::clone(sphinx), handle })
    }

    /// Adds pronunciations (`word`, `PH OW N EH M Z`) and searches for the sentences of a JSGF grammar.
    pub fn set_grammar(&mut self, words: &[(String, String)], jsgf: &str) -> Result<(), String> {
        let text = |s: &str| CString::new(s).map_err(|error| error.to_string());
        for (word, phones) in words {
            let (spelling, sound) = (text(word)?, text(phones)?);
            // SAFETY: live decoder, strings live through the call.
            let id = unsafe { (self.sphinx.ps_add_word)(self.handle, spelling.as_ptr(), sound.as_ptr(), 0) };
            if id < 0 {
                return Err(format!("PocketSphinx refused the word {word} as {phones}"));
            }
        }
        let (name, grammar) = (text("grammar")?, text(jsgf)?);
        // SAFETY: as above.
        let refused = unsafe {
            (self.sphinx.ps_set_jsgf_string)(self.handle, name.as_ptr(), grammar.as_ptr()) < 0
                || (self.sphinx.ps_set_search)(self.handle, name.as_ptr()) < 0
        };
        if refused {
            return Err("PocketSphinx refused the grammar".into());
        }
        Ok(())
    }

    /// Begins an utterance.
    pub fn start(&mut self) {
        // SAFETY: live decoder; starting twice is refused by the library with a status.
        unsafe { (self.sphinx.ps_start_utt)(self.handle) };
    }

    /// Takes 16 kHz mono samples.
    pub fn feed(&mut self, pcm: &[i16]) {
        // SAFETY: live decoder; pointer and length describe `pcm`.
        unsafe { (self.sphinx.ps_process_raw)(self.handle, pcm.as_ptr(), pcm.len(), 0, 0) };
    }

    /// Ends the utterance and runs the second and third pass.
    pub fn finish(&mut self) {
        // SAFETY: live decoder.
        unsafe { (self.sphinx.ps_end_utt)(self.handle) };
    }

    /// The log score of the best path, or `None` if there is no path.
    pub fn score(&mut self) -> Option<i32> {
        let mut score = 0;
        // SAFETY: live decoder, `score` lives through the call.
        let text = unsafe { (self.sphinx.ps_get_hyp)(self.handle, &raw mut score) };
        (!text.is_null()).then_some(score)
    }

    /// The best path.
    pub fn segments(&mut self) -> Vec<Segment> {
        let mut found = Vec::new();
        // SAFETY: `ps_seg_next` frees the iterator at its end and returns null then; the loop runs to the end.
        // The word belongs to the dictionary and is copied before the next call.
        unsafe {
            let logmath = (self.sphinx.ps_get_logmath)(self.handle);
            let mut segment = (self.sphinx.ps_seg_iter)(self.handle);
            while !segment.is_null() {
                let (mut start, mut end, mut ac, mut lm, mut back) = (0, 0, 0, 0, 0);
                (self.sphinx.ps_seg_frames)(segment, &raw mut start, &raw mut end);
                let probability = (self.sphinx.ps_seg_prob)(segment, &raw mut ac, &raw mut lm, &raw mut back);
                let word: *const c_char = (self.sphinx.ps_seg_word)(segment);
                if !word.is_null() {
                    found.push(Segment {
                        word: CStr::from_ptr(word).to_string_lossy().into_owned(),
                        start,
                        end,
                        probability: (self.sphinx.logmath_exp)(logmath, probability).clamp(0.0, 1.0),
                    });
                }
                segment = (self.sphinx.ps_seg_next)(segment);
            }
        }
        found
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the only reference to the decoder.
        unsafe { (self.sphinx.ps_free)(self.handle) };
    }
}
