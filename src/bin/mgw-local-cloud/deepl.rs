//! DeepL's `POST /v2/translate` (JSON and form), `/v2/usage` and `/v2/languages`.

mod languages;

use crate::app::App;
use crate::conn::ConnCtl;
use crate::engine::EngineErrorKind;
use crate::fault;
use crate::scenario::Stage;
use crate::slots::Slot;
use crate::stats::{Translation, keep_last};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use languages::{FORMAL, is_source, is_target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

const MAX_BODY: usize = 128 * 1024;
const MAX_TEXTS: usize = 50;

const FORMALITIES: &[&str] = &["default", "more", "less", "prefer_more", "prefer_less"];
const MODELS: &[&str] = &["latency_optimized", "quality_optimized", "prefer_quality_optimized"];
const FIELDS: &[&str] = &[
    "text",
    "target_lang",
    "source_lang",
    "context",
    "model_type",
    "formality",
    "split_sentences",
    "preserve_formatting",
    "show_billed_characters",
    "glossary_id",
    "glossary_ids",
    "style_id",
    "translation_memory_id",
    "translation_memory_threshold",
    "custom_instructions",
    "tag_handling",
    "tag_handling_version",
    "outline_detection",
    "splitting_tags",
    "non_splitting_tags",
    "ignore_tags",
    "enable_beta_languages",
];

type Refusal = (StatusCode, Option<String>);

fn bad(text: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, Some(text.into()))
}

/// `POST /v2/translate`
pub async fn translate(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let _busy = ctl.busy(app.scenario().deepl.keep_alive_ms);
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Mt, "/v2/translate").await {
        return traced(&app, response);
    }
    let Some(_slot) = Slot::take(&app, "deepl", app.scenario().deepl.max_requests) else {
        return traced(&app, refuse(&app, (StatusCode::TOO_MANY_REQUESTS, Some("Too many requests".to_owned()))));
    };
    let begin = Instant::now();
    let answered = match gate(&app, &parts.headers, &parts.uri) {
        Err(refusal) => Err(refusal),
        Ok(()) => match axum::body::to_bytes(body, MAX_BODY).await {
            Err(_) => Err((StatusCode::PAYLOAD_TOO_LARGE, Some("Request Entity Too Large".to_owned()))),
            Ok(bytes) => match Ask::parse(&parts.headers, &bytes, &app) {
                Err(refusal) => Err(refusal),
                Ok(ask) => answer(&app, ask).await,
            },
        },
    };
    let response = match answered {
        Ok(value) => {
            let scenario = app.scenario();
            sleep_until(begin + app.chance(|rng| scenario.mt.latency_ms.draw(rng))).await;
            json_reply(StatusCode::OK, &value)
        }
        Err(refusal) => refuse(&app, refusal),
    };
    traced(&app, response)
}

/// `GET` or `POST /v2/usage`
pub async fn usage(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Response {
    let response = match gate(&app, &headers, &uri) {
        Ok(()) => {
            let used = app.stats.with(|n| n.characters.get(&Stage::Mt).copied().unwrap_or(0));
            json_reply(
                StatusCode::OK,
                &json!({"character_count": used, "character_limit": app.scenario().deepl.character_limit}),
            )
        }
        Err(refusal) => refuse(&app, refusal),
    };
    traced(&app, response)
}

/// `GET` or `POST /v2/languages`: sources, or targets with `type=target` in the query or in a form.
pub async fn languages(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let asked = |pairs: &[u8]| {
        url::form_urlencoded::parse(pairs).find_map(|(name, value)| (name == "type").then(|| value.into_owned()))
    };
    let kind = asked(uri.query().unwrap_or_default().as_bytes()).or_else(|| asked(&body));
    let response = match (gate(&app, &headers, &uri), kind.as_deref()) {
        (Err(refusal), _) => refuse(&app, refusal),
        (Ok(()), None | Some("source")) => json_reply(StatusCode::OK, &languages::sources()),
        (Ok(()), Some("target")) => json_reply(StatusCode::OK, &languages::targets()),
        (Ok(()), Some(_)) => refuse(&app, bad("Value for 'type' not supported.")),
    };
    traced(&app, response)
}

fn json_reply(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn traced(app: &App, mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&app.uuid().replace('-', "")) {
        response.headers_mut().insert("x-trace-id", id);
    }
    response
}

fn refuse(app: &App, (status, text): Refusal) -> Response {
    if status.as_u16() < 429 {
        app.stats.violation(format!("deepl: {} {}", status.as_u16(), text.as_deref().unwrap_or("no valid key")));
    }
    match text {
        Some(text) => json_reply(status, &json!({"message": text})),
        None => status.into_response(),
    }
}

fn gate(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    if !headers.contains_key(header::USER_AGENT) {
        return Err(bad("User-Agent header missing."));
    }
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("DeepL-Auth-Key "));
    // The key as a query parameter was removed in January 2026.
    let old = uri.query().is_some_and(|q| q.split('&').any(|p| p.starts_with("auth_key=")));
    if old || !key.is_some_and(|key| app.key_is_good("deepl", key)) {
        return Err((StatusCode::FORBIDDEN, None));
    }
    Ok(())
}

#[derive(Default)]
struct Ask {
    texts: Vec<String>,
    target: String,
    source: Option<String>,
    context: Option<String>,
    model: Option<String>,
    billed: bool,
}

impl Ask {
    fn parse(headers: &HeaderMap, body: &[u8], app: &App) -> Result<Ask, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let fields = match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => match serde_json::from_slice(body) {
                Ok(Value::Object(map)) => map.into_iter().collect(),
                _ => return Err(bad("Bad request. Reason: invalid JSON.")),
            },
            "application/x-www-form-urlencoded" => form(body),
            _ => {
                return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("Unsupported Media Type".to_owned())));
            }
        };
        for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            if name == "auth_key" {
                return Err((StatusCode::FORBIDDEN, None));
            }
            app.stats.violation(format!("deepl: unknown field {name:.40}"));
        }
        Ask::check(&fields)
    }

    fn check(fields: &BTreeMap<String, Value>) -> Result<Ask, Refusal> {
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(_) => Err(bad(format!("Bad request. Reason: '{name}' must be a string."))),
        };
        let flag = |name: &str| match fields.get(name) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(Value::String(s)) if s == "0" || s == "1" => Ok(s == "1"),
            Some(_) => Err(bad(format!("Value for '{name}' not supported."))),
        };
        let one_of = |name: &str, values: &[&str]| match text(name)? {
            Some(v) if !values.contains(&v.as_str()) => Err(bad(format!("Value for '{name}' not supported."))),
            value => Ok(value),
        };
        let texts = match fields.get("text") {
            Some(Value::Array(items)) => items
                .iter()
                .map(|v| {
                    v.as_str().map(str::to_owned).ok_or_else(|| bad("Bad request. Reason: 'text' must hold strings."))
                })
                .collect::<Result<Vec<_>, _>>()?,
            Some(_) => return Err(bad("Bad request. Reason: 'text' must be an array.")),
            None => Vec::new(),
        };
        if texts.is_empty() {
            return Err(bad("Parameter 'text' not specified."));
        }
        if texts.len() > MAX_TEXTS {
            return Err(bad("Too many texts."));
        }
        let Some(target) = text("target_lang")? else {
            return Err(bad("Parameter 'target_lang' not specified."));
        };
        let target = target.to_ascii_uppercase();
        if !is_target(&target) {
            return Err(bad("Value for 'target_lang' not supported."));
        }
        let source = text("source_lang")?.map(|s| s.to_ascii_uppercase());
        if source.as_ref().is_some_and(|s| !is_source(s)) {
            return Err(bad("Value for 'source_lang' not supported."));
        }
        let formality = one_of("formality", FORMALITIES)?;
        if matches!(formality.as_deref(), Some("more" | "less")) && !FORMAL.contains(&target.as_str()) {
            return Err(bad("'formality' is not supported for given 'target_lang'."));
        }
        one_of("split_sentences", &["0", "1", "nonewlines"])?;
        one_of("tag_handling", &["xml", "html"])?;
        flag("preserve_formatting")?;
        let glossary = fields.contains_key("glossary_id");
        if (glossary || fields.contains_key("glossary_ids")) && source.is_none() {
            return Err(bad("Use of a glossary requires the source_lang parameter to be specified."));
        }
        Ok(Ask {
            texts,
            target,
            source,
            context: text("context")?,
            model: one_of("model_type", MODELS)?,
            billed: flag("show_billed_characters")?,
        })
    }
}

fn form(body: &[u8]) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        if matches!(&*name, "text" | "glossary_ids" | "custom_instructions") {
            let list = fields.entry(name.into_owned()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(value);
            }
        } else {
            fields.insert(name.into_owned(), value);
        }
    }
    fields
}

async fn answer(app: &Arc<App>, ask: Ask) -> Result<Value, Refusal> {
    let characters: usize = ask.texts.iter().map(|t| t.chars().count()).sum();
    let limit = app.scenario().deepl.character_limit;
    let fits = app.stats.with(|n| {
        let used = n.characters.entry(Stage::Mt).or_default();
        let fits = *used + characters as u64 <= limit;
        if fits {
            *used += characters as u64;
        }
        fits
    });
    if !fits {
        let status = StatusCode::from_u16(456).unwrap_or(StatusCode::FORBIDDEN);
        return Err((status, Some("Quota for this billing period has been exceeded.".to_owned())));
    }
    let worker = app.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut translations = Vec::new();
        for text in &ask.texts {
            let (source, translated) =
                worker.engine.translate(text, ask.source.as_deref(), &ask.target, ask.context.as_deref())?;
            let mut item = json!({"detected_source_language": source.to_ascii_uppercase(), "text": translated});
            if ask.billed {
                item["billed_characters"] = json!(text.chars().count());
            }
            if let Some(model) = &ask.model {
                let used = if model == "latency_optimized" { model } else { "quality_optimized" };
                item["model_type_used"] = json!(used);
            }
            translations.push(item);
            let done = Translation {
                source,
                target: ask.target.clone(),
                text: text.clone(),
                translated,
                context: ask.context.clone(),
            };
            worker.stats.with(|n| keep_last(&mut n.translations, done));
        }
        Ok(json!({"translations": translations}))
    });
    match work.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => {
            let e: crate::engine::EngineError = e;
            Err(match e.kind {
                EngineErrorKind::UnsupportedLanguage => {
                    bad(format!("Value for 'target_lang' not supported: {}", e.message))
                }
                EngineErrorKind::BadInput => bad(e.message),
                EngineErrorKind::TooManyStreams => {
                    (StatusCode::TOO_MANY_REQUESTS, Some("Too many requests".to_owned()))
                }
                EngineErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(e.message)),
            })
        }
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, Some("Internal error".to_owned()))),
    }
}
