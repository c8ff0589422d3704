//! Asterisk's control interface.

/// State of the connection.
#[derive(Clone, Debug, Default)]
pub struct Status {}
