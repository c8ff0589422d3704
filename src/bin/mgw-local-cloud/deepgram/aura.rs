//! Aura, `POST /v1/speak`: one text in, a chunked body of audio out.

use super::{bearer, refused};
use crate::app::App;
use crate::conn::ConnCtl;
use crate::fault;
use crate::scenario::{On, Stage};
use crate::slots::Slot;
use crate::speech::{self, Coding, Format, Wanted};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;

/// Believed limit of Aura-2, in characters; that of the first Aura was 2400.
const MOST_TEXT: usize = 2000;
const MOST_BODY: usize = 2 << 20;
/// Bytes of a RIFF header for bare PCM, mu-law or A-law.
const RIFF: usize = 44;

type Refusal = (StatusCode, &'static str, String);

fn bad(text: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", text.into())
}

/// `POST /v1/speak`
pub async fn speak(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Tts, "/v1/speak").await {
        return response;
    }
    let id = app.uuid();
    let refuse = |(status, code, text): Refusal| {
        if status != StatusCode::TOO_MANY_REQUESTS {
            app.stats.violation(format!("aura: {text}"));
        }
        refused(&id, status, code, &text)
    };
    if !bearer(&headers).is_some_and(|key| app.key_is_good("deepgram", &key)) {
        return refuse((StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.".to_owned()));
    }
    let Some(slot) = Slot::take(&app, "aura", app.scenario().aura.max_requests) else {
        let text = "Too many requests. Please try again later".to_owned();
        return refuse((StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", text));
    };
    let query = match Query::parse(&raw.unwrap_or_default()) {
        Ok(query) => query,
        Err(refusal) => return refuse(refusal),
    };
    let Ok(body) = axum::body::to_bytes(body, MOST_BODY).await else {
        let text = "Payload size exceeds limit of 2 MB.".to_owned();
        return refuse((StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", text));
    };
    let text = match read_text(&headers, &body) {
        Ok(text) => text,
        Err(refusal) => return refuse(refusal),
    };
    if let Some(fault) = app.fault(Stage::Tts, On::Generation) {
        fault::later(&ctl, &fault);
    }
    let count = text.chars().count().to_string();
    let (model, kind) = (query.model.clone(), query.content_type());
    let mut response = Body::from_stream(audio(app.clone(), query, text, slot)).into_response();
    let model_id = app.uuid();
    for (name, value) in [
        (header::CONTENT_TYPE.as_str(), kind.as_str()),
        ("dg-request-id", &id),
        ("dg-model-name", &model),
        ("dg-model-uuid", &model_id),
        ("dg-char-count", &count),
    ] {
        if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The body; the request's slot is free when it ends.
fn audio(
    app: Arc<App>,
    query: Query,
    text: String,
    slot: Slot,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let _slot = slot;
        let mut head = query.wav.then(|| riff(query.format));
        let language = query.model.rsplit('-').next().map(str::to_owned);
        let wanted = Wanted { voice: query.model, language, format: query.format, timed: false };
        let stop = Arc::new(AtomicBool::new(false));
        let sent = speech::run(&app, &wanted, text, &stop, |chunk| {
            let mut bytes = head.take().unwrap_or_default();
            bytes.extend(chunk.bytes);
            let sender = sender.clone();
            async move { sender.send(bytes.into()).await.is_ok() }
        });
        if let Err(e) = sent.await {
            app.stats.violation(format!("aura: synthesis failed: {}", e.message));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receiver))
    })
}

struct Query {
    model: String,
    format: Format,
    wav: bool,
}

impl Query {
    fn parse(raw: &str) -> Result<Query, Refusal> {
        let (mut model, mut encoding, mut container) = ("aura-asteria-en".to_owned(), "mp3".to_owned(), None);
        let mut rate = None;
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            let text = format!("Failed to deserialize query parameters: {name}: `{value}` is not allowed");
            match &*name {
                "model" => model = value.into_owned(),
                "encoding" => encoding = value.into_owned(),
                "container" => container = Some(value.into_owned()),
                "sample_rate" => rate = Some(value.parse::<u32>().map_err(|_| bad(text))?),
                "speed" if value.parse().is_ok_and(|s: f64| (0.7..=1.5).contains(&s)) => {}
                "mip_opt_out" if matches!(&*value, "true" | "false") => {}
                "tag" if !value.is_empty() && value.len() <= 128 => {}
                "callback" | "callback_method" => return Err(bad("the emulator sends audio in the reply only")),
                "speed" | "mip_opt_out" | "tag" | "bit_rate" => return Err(bad(text)),
                _ => return Err(bad(format!("Failed to deserialize query parameters: unknown field `{name}`"))),
            }
        }
        if !model.starts_with("aura-") || model.split('-').count() < 3 {
            return Err((StatusCode::BAD_REQUEST, "Bad Request", format!("No such model: {model:.60}")));
        }
        let (coding, rates): (_, &[u32]) = match encoding.as_str() {
            "linear16" => (Coding::Pcm, &[24000, 8000, 16000, 32000, 48000]),
            "mulaw" => (Coding::Ulaw, &[8000, 16000]),
            "alaw" => (Coding::Alaw, &[8000, 16000]),
            "mp3" | "opus" | "flac" | "aac" => {
                return Err(bad(format!("the emulator makes linear16, mulaw and alaw only, not {encoding}")));
            }
            _ => return Err(bad(format!("Unsupported audio format: `{encoding:.40}`"))),
        };
        let rate = rate.unwrap_or(rates[0]);
        if !rates.contains(&rate) {
            return Err(bad(format!("Unsupported audio format: `sample_rate` {rate} is not applicable to {encoding}")));
        }
        // The default of REST is a file, not bare audio.
        let wav = match container.as_deref() {
            None | Some("wav") => true,
            Some("none") => false,
            Some(other) => {
                return Err(bad(format!("Unsupported audio format: `container` {other:.40} with {encoding}")));
            }
        };
        Ok(Query { model, format: Format { coding, rate }, wav })
    }

    fn content_type(&self) -> String {
        match (self.wav, self.format.coding) {
            (true, _) => "audio/wav".to_owned(),
            (false, Coding::Pcm) => format!("audio/l16;rate={}", self.format.rate),
            (false, Coding::Ulaw) => format!("audio/mulaw;rate={}", self.format.rate),
            (false, Coding::Alaw) => format!("audio/alaw;rate={}", self.format.rate),
        }
    }
}

fn read_text(headers: &HeaderMap, body: &[u8]) -> Result<String, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let invalid = |text: &str| (StatusCode::BAD_REQUEST, "INVALID_JSON", text.to_owned());
    let text = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) if fields.keys().all(|name| name == "text") => fields
                .get("text")
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| invalid("Invalid JSON submitted: `text` must be a string"))?,
            _ => return Err(invalid("Invalid JSON submitted.")),
        },
        "text/plain" => String::from_utf8(body.to_vec()).map_err(|_| invalid("The text is not UTF-8."))?,
        _ => {
            let text = "Content-Type must be application/json or text/plain.".to_owned();
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text));
        }
    };
    if text.trim().is_empty() {
        return Err((StatusCode::BAD_REQUEST, "Bad Request", "Input text is empty.".to_owned()));
    }
    if text.chars().count() > MOST_TEXT {
        let text = format!("Input text exceeds maximum character limit of {MOST_TEXT}.");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large", text));
    }
    Ok(text)
}

/// The header of a stream: its sizes are unknown and said to be as large as they can be.
fn riff(format: Format) -> Vec<u8> {
    let width = format.width() as u16;
    let tag: u16 = match format.coding {
        Coding::Pcm => 1,
        Coding::Alaw => 6,
        Coding::Ulaw => 7,
    };
    let mut head = Vec::with_capacity(RIFF);
    head.extend(b"RIFF\xFF\xFF\xFF\xFFWAVEfmt ");
    head.extend(16_u32.to_le_bytes());
    head.extend(tag.to_le_bytes());
    head.extend(1_u16.to_le_bytes());
    head.extend(format.rate.to_le_bytes());
    head.extend((format.rate * u32::from(width)).to_le_bytes());
    head.extend(width.to_le_bytes());
    head.extend((width * 8).to_le_bytes());
    head.extend(b"data\xFF\xFF\xFF\xFF");
    head
}
