//! `mgw_config_*`: settings by key and value, from files and from JSON.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard};

use super::args::{ErrorText, not_null, text, write};
use super::guard::{guard, guard_text};
use super::table::Table;
use super::{mgw_config, mgw_status};
use crate::config::Config;
use crate::status::Status;
use crate::{Error, sys};

static CONFIGS: Table<Mutex<Config>> = Table::new(0x0c);

/// The settings behind a handle, for as long as the result is held.
pub(super) struct Held(Arc<Mutex<Config>>);

impl Held {
    pub(super) fn lock(&self) -> MutexGuard<'_, Config> {
        // A setting is checked before it is stored, so a panic leaves whole ones behind.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Looks a handle up.
pub(super) fn held(config: mgw_config) -> Result<Held, Error> {
    CONFIGS.get(config).map(Held).map_err(Error::plain)
}

/// Makes an empty configuration: everything at its default, no profiles.
///
/// Thread: any. One configuration may be used by several threads; they take turns.
/// Blocks: no.
/// NULL: config must not be.
/// Returns: MGW_OK, MGW_ERR_NULL, MGW_ERR_LIMIT (65,536 are open), MGW_ERR_RESOURCES.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_config_new(config: *mut mgw_config) -> mgw_status {
    guard(|| {
        not_null(config)?;
        sys::watch_fork().map_err(|_| Status::ErrResources)?;
        let handle = CONFIGS.insert(Mutex::new(Config::new()))?;
        // SAFETY: not NULL; the header asks for a valid pointer.
        unsafe { write(config, handle) }?;
        Ok(Status::Ok)
    })
}

/// Sets one key to a value given as text; docs/configuration.md lists the keys. A later value replaces
/// an earlier one. Keys of a profile are written "profile.8888.language".
///
/// Thread: any.
/// Blocks: no.
/// NULL: key and value must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_UNKNOWN_KEY (the text names the nearest), MGW_ERR_BAD_VALUE, MGW_ERR_CONFIG
/// (the key is not for this place), MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL. On an error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_config_set(
    config: mgw_config,
    key: *const c_char,
    value: *const c_char,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        // SAFETY: the header asks for NUL-terminated texts that do not change meanwhile.
        let (key, value) = unsafe { (text(key).map_err(Error::plain)?, text(value).map_err(Error::plain)?) };
        held(config)?.lock().set(key, value).map_err(Error::from)
    })
}

/// Reads settings from a file: TOML, or JSON if its name ends in ".json". At most 1 MiB.
///
/// Thread: any.
/// Blocks: while the file is read.
/// NULL: path must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_FILE (cannot be read), MGW_ERR_SYNTAX (the text names line and column), or as
/// mgw_config_set(). On an error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_config_load_file(
    config: mgw_config,
    path: *const c_char,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        // SAFETY: the header asks for a NUL-terminated text that does not change meanwhile.
        let path = unsafe { text(path) }.map_err(Error::plain)?;
        held(config)?.lock().load_file(path).map_err(Error::from)
    })
}

/// Reads settings from JSON text: one object, with objects inside it for sections, dotted keys, or both.
///
/// Thread: any.
/// Blocks: no.
/// NULL: json must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_SYNTAX (the text names line and column), or as mgw_config_set(). On an error
/// nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_config_load_json(
    config: mgw_config,
    json: *const c_char,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        // SAFETY: the header asks for a NUL-terminated text that does not change meanwhile.
        let json = unsafe { text(json) }.map_err(Error::plain)?;
        held(config)?.lock().load_json(json).map_err(Error::from)
    })
}

/// Frees a configuration. What was made from it lives on; a call that is using it ends well.
///
/// Thread: any.
/// Blocks: no.
/// Returns: MGW_OK, MGW_ERR_HANDLE (never valid, or freed before).
#[unsafe(no_mangle)]
pub extern "C" fn mgw_config_free(config: mgw_config) -> mgw_status {
    guard(|| CONFIGS.remove(config).map(|_| Status::Ok))
}
