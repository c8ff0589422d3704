//! What the vendors really answer when they do not serve, by name: statuses, headers, bodies, messages, close codes.
//!
//! Texts as in the vendors' documentation; where none is published, one that fits the shape. `{id}` in a body or header
//! becomes a request id.

/// Deepgram's reason when its own window passed without a message.
pub const NET_0000: &str =
    "Deepgram did not provide a response message within the timeout window. See https://dpgr.am/net0000";
/// Deepgram's reason when the client was silent for too long.
pub const NET_0001: &str =
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001";

/// One answer.
pub struct Reply {
    /// HTTP status, also of a refused handshake; 0 if the fault is one of websockets only.
    pub status: u16,
    /// HTTP headers.
    pub headers: Vec<(&'static str, String)>,
    /// HTTP body; empty for none.
    pub body: String,
    /// What a websocket that is open says, and how it is closed.
    pub socket: Option<(Option<String>, u16, String)>,
    /// A streamed reply breaks off with `body` as its last event.
    pub mid_stream: bool,
}

fn http(status: u16, body: &str) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_owned(), socket: None, mid_stream: false }
}

fn deepgram(status: u16, code: &str, text: &str) -> Reply {
    let body = format!(r#"{{"err_code":"{code}","err_msg":"{text}","request_id":"{{id}}"}}"#);
    let headers = vec![("dg-request-id", "{id}".to_owned()), ("dg-error", text.to_owned())];
    Reply { headers, ..http(status, &body) }
}

fn closes(message: Option<&str>, code: u16, reason: &str) -> Reply {
    Reply { socket: Some((message.map(str::to_owned), code, reason.to_owned())), ..http(0, "") }
}

fn deepl(status: u16, text: &str) -> Reply {
    http(status, &format!(r#"{{"message":"{text}"}}"#))
}

/// The shape of today, on a websocket the message and 1008.
fn elevenlabs(status: u16, kind: &str, code: &str, text: &str) -> Reply {
    let detail =
        format!(r#""type":"{kind}","code":"{code}","status":"{code}","message":"{text}","request_id":"{{id}}""#);
    let message = format!(r#"{{"message":"{text}","error":"{code}","code":1008}}"#);
    let headers = vec![("request-id", "{id}".to_owned())];
    let socket = Some((Some(message), 1008, text.to_owned()));
    Reply { headers, socket, ..http(status, &format!(r#"{{"detail":{{{detail}}}}}"#)) }
}

fn openai(status: u16, kind: &str, code: &str, text: &str) -> Reply {
    let code = if code.is_empty() { "null".to_owned() } else { format!("\"{code}\"") };
    let body = format!(r#"{{"error":{{"message":"{text}","type":"{kind}","param":null,"code":{code}}}}}"#);
    Reply { headers: vec![("x-request-id", "req_{id}".to_owned())], ..http(status, &body) }
}

fn libretranslate(status: u16, text: &str) -> Reply {
    http(status, &format!(r#"{{"error":"{text}"}}"#))
}

/// The answer of a name, if there is one.
pub fn reply(name: &str) -> Option<Reply> {
    Some(match name {
        "deepgram_net0000" => closes(None, 1011, NET_0000),
        "deepgram_net0001" => closes(None, 1011, NET_0001),
        "deepgram_data0000" => closes(None, 1008, "DATA-0000: The payload cannot be decoded as audio."),
        "deepgram_400" => deepgram(400, "Bad Request", "Bad Request: No such model/language/tier combination found."),
        "deepgram_401" => deepgram(401, "INVALID_AUTH", "Invalid credentials."),
        "deepgram_402" => deepgram(402, "ASR_PAYMENT_REQUIRED", "Project does not have enough credits for an ASR request and does not have an overage agreement."),
        "deepgram_403" => {
            deepgram(403, "INSUFFICIENT_PERMISSIONS", "Project does not have access to the requested model.")
        }
        "deepgram_429" => deepgram(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
        // The third of the vendor's body shapes: plain text.
        "deepgram_503" => Reply { body: "Service Unavailable".to_owned(), ..deepgram(503, "", "Service Unavailable") },
        "flux_internal" => {
            let message = r#"{"type":"Error","sequence_id":0,"code":"INTERNAL_SERVER_ERROR","description":"An internal error occurred."}"#;
            closes(Some(message), 1011, "INTERNAL_SERVER_ERROR")
        }
        // The second of the vendor's body shapes.
        "aura_413" => Reply {
            body: r#"{"category":"PAYLOAD_TOO_LARGE","message":"Payload size exceeds limit of 2 MB.","details":"Input text exceeds maximum character limit of 2000.","request_id":"{id}"}"#.to_owned(),
            ..deepgram(413, "PAYLOAD_TOO_LARGE", "Payload size exceeds limit of 2 MB.")
        },
        "aura_429" => deepgram(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
        "deepl_403" => http(403, ""),
        "deepl_413" => deepl(413, "Request Entity Too Large"),
        "deepl_429" => deepl(429, "Too many requests"),
        "deepl_429_empty" => http(429, ""),
        "deepl_456" => deepl(456, "Quota for this billing period has been exceeded."),
        "deepl_500" => deepl(500, "Internal server error"),
        "deepl_503" => deepl(503, "Service unavailable"),
        "deepl_529" => deepl(529, "Too many requests"),
        "deepl_529_empty" => http(529, ""),
        "elevenlabs_invalid_api_key" => elevenlabs(401, "authentication_error", "invalid_api_key", "Invalid API key"),
        "elevenlabs_quota_exceeded" => elevenlabs(
            401,
            "authentication_error",
            "quota_exceeded",
            "This request exceeds your quota. You have 0 credits remaining.",
        ),
        // The legacy shape of a body.
        "elevenlabs_too_many_concurrent_requests" => {
            let text = "Too many concurrent requests. Your current subscription is associated with a maximum of 15 concurrent requests.";
            let all = elevenlabs(429, "", "too_many_concurrent_requests", text);
            let body = format!(r#"{{"detail":{{"status":"too_many_concurrent_requests","message":"{text}"}}}}"#);
            Reply { body, ..all }
        }
        "elevenlabs_system_busy" => elevenlabs(
            429,
            "rate_limit_error",
            "system_busy",
            "We are sorry, the system is experiencing heavy traffic, please try again.",
        ),
        "elevenlabs_422" => {
            http(422, r#"{"detail":[{"loc":["body","text"],"msg":"Field required","type":"missing"}]}"#)
        }
        "elevenlabs_input_timeout_exceeded" => {
            let text = "Have not received a new text input within the timeout of 20.0 seconds. Streaming input terminated.";
            Reply { status: 0, body: String::new(), ..elevenlabs(0, "", "input_timeout_exceeded", text) }
        }
        "openai_401" => openai(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        "openai_429" => openai(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        "openai_quota" => openai(
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        "openai_500" => openai(500, "server_error", "", "The server had an error while processing your request."),
        "openai_mid_stream" => Reply {
            mid_stream: true,
            ..openai(500, "server_error", "", "The server had an error while processing your request.")
        },
        "libretranslate_403" => libretranslate(403, "Invalid API key"),
        "libretranslate_429" => libretranslate(429, "Slowdown: 80 per 1 minute"),
        "libretranslate_500" => libretranslate(500, "Cannot translate text: out of memory"),
        _ => return None,
    })
}
