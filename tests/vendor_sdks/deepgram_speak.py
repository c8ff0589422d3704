"""Deepgram's SDK on POST /v1/speak (Aura)."""

import io
import wave

import httpx
import tables
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.errors import BadRequestError
from wire import HTTP, RECORD, WS, assert_polite, check, fault, hear, main, raises, record_httpx, set_scenario

SCENARIO = "[tts]\nfirst_audio_ms = 10\nspeed = 100.0\n"
TEXT = "Enbaba enbabe enbabi, enbabo."
WORDS = ["enbaba", "enbabe", "enbabi", "enbabo"]
RAW = {"text": TEXT, "model": "aura-2-thalia-en", "encoding": "linear16", "container": "none", "sample_rate": 16000}
ONCE = {"max_retries": 0}


def speak(key="dg-key", **query):
    """All bytes of an answer."""
    environment = DeepgramClientEnvironment(base=HTTP, production=WS, agent=WS, agent_rest=HTTP)
    client = DeepgramClient(api_key=key, environment=environment)
    return b"".join(client.speak.v1.audio.generate(**query))


@check
def raw_audio():
    pcm = speak(**RAW)
    assert hear(pcm) == WORDS
    reply = RECORD.replies[-1]
    assert bytes(reply.body) == pcm
    assert reply.headers["content-type"] == "audio/l16;rate=16000"
    assert reply.headers["dg-model-name"] == "aura-2-thalia-en"
    assert reply.headers["dg-char-count"] == str(len(TEXT))
    for name in ("dg-request-id", "dg-model-uuid"):
        tables.prove(tables.UUID, reply.headers[name])
    assert reply.headers["transfer-encoding"] == "chunked"
    assert_polite()


@check
def a_file_by_default():
    data = speak(**{name: value for name, value in RAW.items() if name != "container"})
    assert RECORD.replies[-1].headers["content-type"] == "audio/wav"
    # The sizes of a stream are not known: they are said to be as large as they can be.
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE" and data[4:8] == data[40:44] == b"\xff" * 4, data[:44]
    with wave.open(io.BytesIO(data[:40] + (len(data) - 44).to_bytes(4, "little") + data[44:])) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        assert hear(file.readframes(file.getnframes())) == WORDS
    assert_polite()


@check
def other_codings():
    data = speak(text=TEXT, model="aura-asteria-en", encoding="mulaw", container="none", sample_rate=8000)
    # Four words of 140 ms and the silence between them, one byte a sample.
    assert 8000 * 0.68 <= len(data) <= 8000 * 1.5, len(data)
    assert hear(speak(**{**RAW, "sample_rate": 24000, "speed": 1.0, "tag": "sdk"}), 24000) == WORDS
    assert_polite()


def refused(kind, status, table, code, **changes):
    error = raises(kind, lambda: speak(request_options=ONCE, **{**RAW, **changes}))
    assert error.status_code == status, error
    reply = RECORD.replies[-1]
    tables.prove(table, reply.json())
    assert error.body == reply.json(), (error.body, reply.body)
    assert reply.headers["dg-request-id"] == reply.json()["request_id"]
    assert reply.json().get("err_code", reply.json().get("category")) == code, reply.body


@check
def refusals():
    shape = tables.DEEPGRAM_REFUSED
    refused(ApiError, 401, shape, "INVALID_AUTH", key="another")
    refused(BadRequestError, 400, shape, "Bad Request", model="nova-3")
    refused(BadRequestError, 400, shape, "INVALID_QUERY_PARAMETER", sample_rate=11025)
    refused(BadRequestError, 400, shape, "Bad Request", text=" ")
    refused(ApiError, 413, shape, "Payload Too Large", text="a" * 2001)
    set_scenario(SCENARIO + fault("tts", kind="vendor", name="aura_429", count=0))
    refused(ApiError, 429, shape, "TOO_MANY_REQUESTS")
    set_scenario(SCENARIO + fault("tts", kind="vendor", name="aura_413", count=0))
    refused(ApiError, 413, tables.DEEPGRAM_REFUSED_TOO, "PAYLOAD_TOO_LARGE")
    # The third shape is plain text.
    set_scenario(SCENARIO + fault("tts", kind="vendor", name="deepgram_503", count=0))
    error = raises(ApiError, lambda: speak(request_options=ONCE, **RAW))
    assert (error.status_code, error.body) == (503, "Service Unavailable"), error


record_httpx(httpx)
main(SCENARIO)
