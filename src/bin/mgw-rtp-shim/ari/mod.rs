//! Asterisk's control interface.

/// State of the connection.
#[derive(Clone, Debug, Default)]
pub struct Status {}

impl Status {
    pub fn trouble(&self) -> Option<String> {
        None
    }
    pub fn snapshot(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    pub fn metrics(&self) -> String {
        String::new()
    }
}

pub async fn run(_shim: std::sync::Arc<crate::shim::Shim>) {}

pub async fn dial(
    _shim: &std::sync::Arc<crate::shim::Shim>,
    _legs: &[(String, String)],
    _room: Option<&str>,
) -> Result<Vec<String>, String> {
    Err(String::new())
}
