//! mgw
