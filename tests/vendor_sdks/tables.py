"""What every message of the vendors looks like, transcribed field by field from their specifications.

A table is a JSON value with kinds in place of values. An object lists all its fields; one whose name ends in `?` may be
missing, and a field that is not listed is wrong. A Python list gives each element of an array; `listed` is an array of
any length, `either` one of several kinds. The headings name the sections of the wire reference.
"""

import base64
import binascii
import copy
import re


class Kind:
    """A leaf: what it is called in complaints, and whether a value is one."""

    def __init__(self, name, fits):
        self.name = name
        self.fits = fits


class listed:
    """An array of any length."""

    def __init__(self, table, least=0):
        self.table = table
        self.least = least


class mapped:
    """An object whose names are data."""

    def __init__(self, table):
        self.table = table


class either:
    """One of several tables."""

    def __init__(self, *tables):
        self.tables = tables


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_base64(value):
    try:
        return isinstance(value, str) and value != "" and bool(base64.b64decode(value, validate=True))
    except binascii.Error:
        return False


def like(name, pattern):
    return Kind(name, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def only(*values):
    """One of these values, and of the same type (True is not 1)."""
    return Kind(f"one of {values}", lambda v: any(v == w and type(v) is type(w) for w in values))


INT = Kind("integer", is_int)
NUMBER = Kind("number", lambda value: is_int(value) or isinstance(value, float))
TEXT = Kind("string", lambda value: isinstance(value, str))
BOOL = Kind("boolean", lambda value: isinstance(value, bool))
NULL = Kind("null", lambda value: value is None)
BASE64 = Kind("base64 of something", is_base64)
UUID = like("UUID", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHA256 = like("SHA-256", r"[0-9a-f]{64}")
MOMENT = like("ISO 8601 time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
LANGUAGE = like("language tag", r"[a-z]{2,3}(-[A-Za-z0-9]+)*")


def nullable(table):
    return either(table, NULL)


def compare(table, value, at="$"):
    """All that a value has wrong, as a list of complaints."""
    if isinstance(table, Kind):
        return [] if table.fits(value) else [f"{at}: {value!r} is not {table.name}"]
    if isinstance(table, either):
        found = [compare(t, value, at) for t in table.tables]
        return [] if [] in found else min(found, key=len)
    if isinstance(table, listed):
        if not isinstance(value, list) or len(value) < table.least:
            return [f"{at}: {value!r} is not an array of at least {table.least}"]
        return [c for i, v in enumerate(value) for c in compare(table.table, v, f"{at}[{i}]")]
    if isinstance(table, list):
        if not isinstance(value, list) or len(value) != len(table):
            return [f"{at}: {value!r} is not an array of {len(table)}"]
        return [c for i, (t, v) in enumerate(zip(table, value)) for c in compare(t, v, f"{at}[{i}]")]
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is not an object"]
    if isinstance(table, mapped):
        return [c for name, v in value.items() for c in compare(table.table, v, f"{at}.{name}")]
    fields = {name.rstrip("?"): (t, not name.endswith("?")) for name, t in table.items()}
    wrong = [f"{at}.{name} is missing" for name, (_, needed) in fields.items() if needed and name not in value]
    wrong += [f"{at}.{name} is in no table" for name in value if name not in fields]
    for name in value.keys() & fields.keys():
        wrong += compare(fields[name][0], value[name], f"{at}.{name}")
    return wrong


def spoilt(table, value):
    """Copies of a good value with one thing wrong in each: a field missing, one too many, a value of the wrong type."""
    if isinstance(table, either):
        table = next(t for t in table.tables if not compare(t, value))
    if isinstance(table, Kind):
        yield {"wrong": "type"}
        return
    yield "wrong type"
    if isinstance(table, dict):
        for name, inner in table.items():
            plain = name.rstrip("?")
            if plain not in value:
                continue
            if plain == name:
                yield {n: v for n, v in value.items() if n != plain}
            for bad in spoilt(inner, value[plain]):
                yield {**value, plain: bad}
        yield {**value, "not_in_the_table": 1}
        return
    if isinstance(table, mapped):
        for name in value:
            for bad in spoilt(table.table, value[name]):
                yield {**value, name: bad}
        return
    for i, v in enumerate(value):
        for bad in spoilt(table.table if isinstance(table, listed) else table[i], v):
            yield value[:i] + [bad] + value[i + 1:]


def prove(table, value):
    """Compares a value, and makes sure that the comparison would have seen anything wrong with it."""
    wrong = compare(table, value)
    assert not wrong, "; ".join(wrong) + f" in {value!r}"
    for bad in spoilt(table, copy.deepcopy(value)):
        assert compare(table, bad), f"the table lets pass {bad!r}"


# 1.4 Deepgram /v1/listen, server to client; 1.3 for the answers to Configure.
MODEL_INFO = {"name": TEXT, "version": TEXT, "arch": TEXT}
WORD = {
    "word": TEXT,
    "start": NUMBER,
    "end": NUMBER,
    "confidence": NUMBER,
    "language?": LANGUAGE,
    "punctuated_word?": TEXT,
    "speaker?": INT,
}
LISTEN_V1 = {
    "Results": {
        "type": only("Results"),
        "channel_index": [INT, INT],
        "duration": NUMBER,
        "start": NUMBER,
        "is_final": BOOL,
        "speech_final": BOOL,
        "channel": {
            "alternatives": listed(
                {"transcript": TEXT, "confidence": NUMBER, "languages?": listed(LANGUAGE), "words": listed(WORD)}, 1
            )
        },
        "metadata": {"request_id": UUID, "model_info": MODEL_INFO, "model_uuid": UUID, "diarize_info?": mapped(TEXT)},
        "from_finalize?": BOOL,
    },
    "Metadata": {
        "type": only("Metadata"),
        "transaction_key": only("deprecated"),
        "request_id": UUID,
        "sha256": SHA256,
        "created": MOMENT,
        "duration": NUMBER,
        "channels": INT,
        "models?": listed(UUID),
        "model_info?": mapped(MODEL_INFO),
    },
    "UtteranceEnd": {"type": only("UtteranceEnd"), "channel": [INT, INT], "last_word_end": NUMBER},
    "SpeechStarted": {"type": only("SpeechStarted"), "channel": [INT, INT], "timestamp": NUMBER},
    "Error": {"type": only("Error"), "variant": TEXT, "description": TEXT, "code?": TEXT, "message?": TEXT},
    "ConfigureSuccess": {"type": only("ConfigureSuccess"), "request_id": UUID, "keyterms?": listed(TEXT)},
    "ConfigureFailure": {
        "type": only("ConfigureFailure"),
        "request_id": UUID,
        "code": only(
            "CONFIGURE_KEYTERMS_NOT_SUPPORTED",
            "CONFIGURE_KEYTERM_LIMIT_EXCEEDED",
            "CONFIGURE_ALREADY_PENDING",
            "CONFIGURE_INTERNAL_ERROR",
        ),
        "description": TEXT,
    },
}

# 1.6 Deepgram, bodies of refusals. The third shape is plain text.
DEEPGRAM_REFUSED = {"err_code": TEXT, "err_msg": TEXT, "request_id": UUID}
DEEPGRAM_REFUSED_TOO = {"category": TEXT, "message": TEXT, "details": TEXT, "request_id": UUID}

# 1.7 Deepgram Flux /v2/listen, server to client. Only a fatal Error carries no request_id.
TURN_WORD = {"word": TEXT, "confidence": NUMBER, "start?": NUMBER, "end?": NUMBER}
LISTEN_V2 = {
    "Connected": {"type": only("Connected"), "request_id": UUID, "sequence_id": INT},
    "TurnInfo": {
        "type": only("TurnInfo"),
        "request_id": UUID,
        "sequence_id": INT,
        "event": only("Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"),
        "turn_index": INT,
        "audio_window_start": NUMBER,
        "audio_window_end": NUMBER,
        "transcript": TEXT,
        "words": listed(TURN_WORD),
        "end_of_turn_confidence": NUMBER,
        "trigger?": only("model", "manual", "timeout"),
        "languages?": listed(LANGUAGE, 1),
        "languages_hinted?": listed(LANGUAGE, 1),
    },
    "ConfigureSuccess": {
        "type": only("ConfigureSuccess"),
        "request_id": UUID,
        "sequence_id": INT,
        "thresholds": {"eager_eot_threshold?": NUMBER, "eot_threshold?": NUMBER, "eot_timeout_ms?": INT},
        "keyterms": listed(TEXT),
        "language_hints?": listed(LANGUAGE),
    },
    "ConfigureFailure": {
        "type": only("ConfigureFailure"),
        "request_id": UUID,
        "sequence_id": INT,
        "code?": TEXT,
        "description?": TEXT,
    },
    "Error": {"type": only("Error"), "sequence_id": INT, "code": TEXT, "description": TEXT},
}

# 2.2 DeepL /v2/translate, 2.3 its refusals, 2.4 usage and languages.
DEEPL_TRANSLATED = {
    "translations": listed(
        {
            "detected_source_language": like("language", "[A-Z]{2}"),
            "text": TEXT,
            "billed_characters?": INT,
            "model_type_used?": only("latency_optimized", "quality_optimized"),
            "tag_handling_version?": TEXT,
        },
        1,
    )
}
DEEPL_REFUSED = {"message": TEXT, "code?": TEXT}
DEEPL_USAGE = {"character_count": INT, "character_limit": INT}
DEEPL_SOURCES = listed({"language": like("language", "[A-Z]{2}"), "name": TEXT}, 1)
DEEPL_TARGETS = listed(
    {"language": like("language", "[A-Z]{2}(-[A-Z0-9]+)?"), "name": TEXT, "supports_formality": BOOL}, 1
)

# 3.2 ElevenLabs /stream/with-timestamps, 3.3 refusals (today's shape, the old one, the framework's).
CHARACTERS = {
    "characters": listed(TEXT, 1),
    "character_start_times_seconds": listed(NUMBER, 1),
    "character_end_times_seconds": listed(NUMBER, 1),
}
ELEVENLABS_LINE = {
    "audio_base64": BASE64,
    "alignment": nullable(CHARACTERS),
    "normalized_alignment": nullable(CHARACTERS),
}
ELEVENLABS_REFUSED = {
    "detail": {"type": TEXT, "code": TEXT, "message": TEXT, "status": TEXT, "request_id": UUID, "param?": TEXT}
}
ELEVENLABS_REFUSED_ONCE = {"detail": {"status": TEXT, "message": TEXT}}
ELEVENLABS_INVALID = {"detail": listed({"loc": listed(either(TEXT, INT), 1), "msg": TEXT, "type": TEXT}, 1)}

# 3.4 ElevenLabs stream-input and 3.5 multi-stream-input, server to client.
ALIGNMENT = {"chars": listed(TEXT, 1), "charStartTimesMs": listed(INT, 1), "charDurationsMs": listed(INT, 1)}
ELEVENLABS_AUDIO = {
    "audio": BASE64,
    "isFinal": either(NULL, only(False)),
    "alignment": nullable(ALIGNMENT),
    "normalizedAlignment": nullable(ALIGNMENT),
}
ELEVENLABS_FINAL = {"audio": NULL, "isFinal": only(True), "alignment": NULL, "normalizedAlignment": NULL}
ELEVENLABS_ERROR = {"message": TEXT, "error": TEXT, "code": only(1008)}
ELEVENLABS_MULTI_AUDIO = {
    "audio": BASE64,
    "alignment": nullable(ALIGNMENT),
    "normalizedAlignment": nullable(ALIGNMENT),
    "contextId": TEXT,
}
ELEVENLABS_MULTI_FINAL = {"isFinal": only(True), "contextId": TEXT}

# 5 OpenAI, refusals; 5.1 chat completions. `refusal` and `logprobs` are in the vendor's schema and null without use.
OPENAI_REFUSED = {"error": {"message": TEXT, "type": TEXT, "param": nullable(TEXT), "code": nullable(TEXT)}}
USAGE = {"prompt_tokens": INT, "completion_tokens": INT, "total_tokens": INT}
ENDS = ("stop", "length", "content_filter", "tool_calls")
OPENAI_COMPLETION = {
    "id": like("completion id", "chatcmpl-.+"),
    "object": only("chat.completion"),
    "created": INT,
    "model": TEXT,
    "choices": [
        {
            "index": only(0),
            "message": {"role": only("assistant"), "content": TEXT, "refusal": NULL},
            "logprobs": NULL,
            "finish_reason": only(*ENDS),
        }
    ],
    "usage": USAGE,
}
OPENAI_CHUNK_HEAD = {
    "id": like("completion id", "chatcmpl-.+"),
    "object": only("chat.completion.chunk"),
    "created": INT,
    "model": TEXT,
    "obfuscation?": TEXT,
}
OPENAI_CHUNK = {
    **OPENAI_CHUNK_HEAD,
    "choices": [
        {
            "index": only(0),
            "delta": {"role?": only("assistant"), "content?": TEXT, "refusal?": NULL},
            "logprobs?": NULL,
            "finish_reason": nullable(only(*ENDS)),
        }
    ],
    "usage?": NULL,
}
OPENAI_CHUNK_USAGE = {**OPENAI_CHUNK_HEAD, "choices": [], "usage": USAGE}
