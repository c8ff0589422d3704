//! `mgw-rtp-shim call`: asks the running shim to call people and connect them.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::settings::{Settings, TOKEN_ENV};

/// Longer than a phone rings.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks, and says what came of it.
pub fn run(settings: &Settings, legs: &[String], room: Option<String>) -> ExitCode {
    match ask(settings, legs, room) {
        Ok(channels) => {
            println!("connected: {channels}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("mgw-rtp-shim: {why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(settings: &Settings, legs: &[String], room: Option<String>) -> Result<String, String> {
    let legs: Vec<Value> = legs
        .iter()
        .map(|leg| match leg.split_once('=') {
            Some((extension, endpoint)) => Ok(json!({ "extension": extension, "endpoint": endpoint })),
            None => Err(format!("\"{leg}\" is not EXTENSION=ENDPOINT, such as 7777=PJSIP/1001")),
        })
        .collect::<Result<_, _>>()?;
    let token = settings
        .http
        .token
        .as_ref()
        .ok_or_else(|| format!("set shim.http.token or {TOKEN_ENV}, here and for the running shim"))?;
    let url = format!("http://{}/calls", settings.http.listen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        // Never through a proxy: it would see the token.
        let client = reqwest::Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
        let answer = client
            .post(&url)
            .bearer_auth(token.expose())
            .timeout(PATIENCE)
            .json(&json!({ "legs": legs, "room": room }))
            .send()
            .await
            .map_err(|e| format!("the shim does not answer at {url}: {e}; is it running?"))?;
        let good = answer.status().is_success();
        let body: Value = answer.json().await.map_err(|e| format!("the shim's answer is no JSON: {e}"))?;
        if good {
            return Ok(body["channels"].to_string());
        }
        Err(body["error"].as_str().unwrap_or("the shim refused").to_owned())
    })
}
