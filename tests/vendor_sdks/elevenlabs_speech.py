"""ElevenLabs' SDK: HTTP streams and websockets."""

import base64
import json

import httpx
import tables
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.unchecked_base_model import construct_type
from elevenlabs.errors import UnprocessableEntityError
from elevenlabs.types import (
    AudioOutputMulti,
    CloseContext,
    CloseSocket,
    FinalOutputMulti,
    FlushContext,
    InitialiseContext,
    InitializeConnectionMulti,
    KeepContextAlive,
    SendTextMulti,
)
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from wire import (
    HTTP, RECORD, WS, assert_polite, check, fault, hear, main, raises, record_httpx, record_websockets, set_scenario,
)

SCENARIO = "[tts]\nfirst_audio_ms = 10\nspeed = 100.0\n"
TEXT = "Enbaba enbabe enbabi, enbabo."
WORDS = ["enbaba", "enbabe", "enbabi", "enbabo"]
VOICE = "21m00Tcm4TlvDq8ikWAM"
SETTINGS = VoiceSettings(stability=0.5, similarity_boost=0.75, style=0.0, use_speaker_boost=True, speed=1.0)
FLASH = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_16000"}
ONCE = {"max_retries": 0}


def client(key="el-key"):
    made = ElevenLabs(api_key=key, base_url=HTTP)
    made.text_to_speech._ws_base_url = WS
    return made.text_to_speech


def stream(key="el-key", text=TEXT, **more):
    return b"".join(client(key).stream(VOICE, text=text, request_options=ONCE, **{**FLASH, **more}))


@check
def http_stream():
    pcm = stream(
        language_code="en", voice_settings=SETTINGS, seed=7, previous_text="Enbako.", apply_text_normalization="off"
    )
    assert hear(pcm) == WORDS
    headers = RECORD.replies[-1].headers
    tables.prove(tables.UUID, headers["request-id"])
    assert headers["character-cost"] == str(len(TEXT))
    assert int(headers["current-concurrent-requests"]) <= int(headers["maximum-concurrent-requests"])
    assert_polite()


@check
def stream_with_timestamps():
    chunks = list(client().stream_with_timestamps(VOICE, text=TEXT, **FLASH))
    assert hear(b"".join(base64.b64decode(c.audio_base_64) for c in chunks)) == WORDS
    lines = [json.loads(line) for line in bytes(RECORD.replies[-1].body).splitlines()]
    for line in lines:
        tables.prove(tables.ELEVENLABS_LINE, line)
    assert len(lines) == len(chunks), "the SDK dropped lines"
    aligned = [c.alignment for c in chunks if c.alignment]
    assert "".join(letter for a in aligned for letter in a.characters) == TEXT
    starts = [s for a in aligned for s in a.character_start_times_seconds]
    ends = [e for a in aligned for e in a.character_end_times_seconds]
    assert len(starts) == len(ends) == len(TEXT)
    assert starts == sorted(starts) and all(s <= e for s, e in zip(starts, ends))
    # A word of coded speech takes 140 ms.
    assert abs(ends[5] - starts[0] - 0.14) < 0.01, (starts, ends)
    assert_polite()


@check
def websocket():
    sent = ["Enbaba ", "enbabe ", "enbabi, ", "enbabo."]
    settings = {"voice_settings": SETTINGS}
    pcm = b"".join(client().convert_realtime(VOICE, text=iter(sent), **FLASH, **settings))
    assert hear(pcm) == WORDS
    *audio, final = RECORD.messages()
    for message in audio:
        tables.prove(tables.ELEVENLABS_AUDIO, message)
    tables.prove(tables.ELEVENLABS_FINAL, final)
    assert b"".join(base64.b64decode(m["audio"]) for m in audio) == pcm, "the SDK dropped audio"
    first, *_, last = RECORD.asked()
    assert first["text"] == " " and last == {"text": ""}
    assert_polite()


@check
def websocket_with_alignment():
    # The SDK's own connector does not ask for alignment, so this is the same endpoint by hand.
    query = "model_id=eleven_flash_v2_5&output_format=pcm_16000&sync_alignment=true"
    messages = []
    headers = {"xi-api-key": "el-key"}
    with connect(f"{WS}/v1/text-to-speech/{VOICE}/stream-input?{query}", additional_headers=headers) as socket:
        socket.send(json.dumps({"text": " ", "generation_config": {"chunk_length_schedule": [50]}}))
        socket.send(json.dumps({"text": TEXT + " ", "flush": True}))
        socket.send(json.dumps({"text": ""}))
        messages = [json.loads(data) for data in socket]
    assert socket.close_code == 1000
    *audio, final = messages
    tables.prove(tables.ELEVENLABS_FINAL, final)
    spelt = ""
    for message in audio:
        tables.prove(tables.ELEVENLABS_AUDIO, message)
        if alignment := message["alignment"]:
            spelt += "".join(alignment["chars"])
            assert len(alignment["chars"]) == len(alignment["charStartTimesMs"]) == len(alignment["charDurationsMs"])
            # Times are relative to the message's own audio.
            length_ms = len(base64.b64decode(message["audio"])) / 32
            assert alignment["charStartTimesMs"][0] <= length_ms
    assert spelt.strip() == TEXT, spelt
    assert_polite()


@check
def many_contexts():
    # The SDK has the messages of this endpoint but no connector.
    texts = {"one": "Enbaba enbabe. ", "two": "Enbabi enbabo. "}
    headers = {"xi-api-key": "el-key"}
    query = "model_id=eleven_flash_v2_5&output_format=pcm_16000"
    with connect(f"{WS}/v1/text-to-speech/{VOICE}/multi-stream-input?{query}", additional_headers=headers) as socket:

        def send(message):
            socket.send(json.dumps(message.dict()))

        send(InitializeConnectionMulti(text=" ", context_id="one", voice_settings={"stability": 0.5}))
        send(InitialiseContext(text=texts["two"], context_id="two"))
        send(SendTextMulti(text=texts["one"], context_id="one", flush=True))
        send(FlushContext(context_id="two", flush=True))
        send(KeepContextAlive(context_id="one"))
        send(CloseContext(context_id="one", close_context=True))
        send(CloseSocket(close_socket=True))
        raw = [json.loads(data) for data in socket]
    assert socket.close_code == 1000
    heard, finals = {"one": b"", "two": b""}, []
    for message in raw:
        final = "isFinal" in message
        tables.prove(tables.ELEVENLABS_MULTI_FINAL if final else tables.ELEVENLABS_MULTI_AUDIO, message)
        parsed = construct_type(type_=FinalOutputMulti if final else AudioOutputMulti, object_=message)
        if final:
            finals.append(parsed.context_id)
        else:
            assert parsed.context_id not in finals, "audio after the end of its context"
            heard[parsed.context_id] += base64.b64decode(parsed.audio)
    assert sorted(finals) == ["one", "two"]
    assert hear(heard["one"]) == WORDS[:2] and hear(heard["two"]) == WORDS[2:]
    assert_polite()


def refused(kind, status, table, code, **changes):
    error = raises(kind, lambda: stream(**changes))
    reply = RECORD.replies[-1].json()
    assert (error.status_code, error.body) == (status, reply), error
    tables.prove(table, reply)
    if code:
        assert reply["detail"]["status"] == code, reply


@check
def http_refusals():
    today = tables.ELEVENLABS_REFUSED
    refused(ApiError, 401, today, "invalid_api_key", key="another")
    refused(ApiError, 400, today, "model_not_found", model_id="eleven_none")
    refused(ApiError, 400, today, "max_character_limit_exceeded", text="a" * 40001)
    refused(UnprocessableEntityError, 422, tables.ELEVENLABS_INVALID, None, text=5)
    for name, status, table in [
        ("quota_exceeded", 401, today),
        ("system_busy", 429, today),
        ("too_many_concurrent_requests", 429, tables.ELEVENLABS_REFUSED_ONCE),
    ]:
        set_scenario(SCENARIO + fault("tts", kind="vendor", name=f"elevenlabs_{name}", count=0))
        refused(ApiError, status, table, name)
    set_scenario(SCENARIO + fault("tts", kind="vendor", name="elevenlabs_422", count=0))
    refused(UnprocessableEntityError, 422, tables.ELEVENLABS_INVALID, None)
    set_scenario(SCENARIO + '[elevenlabs]\ncharacter_limit = 5\n')
    refused(ApiError, 401, today, "quota_exceeded")


@check
def websocket_refusals():
    def refused(code, text, key="el-key"):
        # Whether the SDK has read the message when it learns of the close is chance: it tells one or the other.
        error = raises(ApiError, lambda: list(client(key).convert_realtime(VOICE, text=iter(["Enbaba "]), **FLASH)))
        assert error.status_code == 1008 and text in str(error.body), error
        # The same endpoint by hand, for the message itself.
        path = f"/v1/text-to-speech/{VOICE}/stream-input?model_id=eleven_flash_v2_5&output_format=pcm_16000"
        with connect(WS + path, additional_headers={"xi-api-key": key}) as socket:
            try:
                socket.send(json.dumps({"text": " "}))
            except ConnectionClosedError:
                pass  # some refusals do not wait for it
            message = json.loads(socket.recv())
            raises(ConnectionClosedError, socket.recv)
        tables.prove(tables.ELEVENLABS_ERROR, message)
        assert message["error"] == code and text in message["message"], message
        assert (socket.close_code, socket.close_reason) == (1008, message["message"])

    refused("invalid_api_key", "Invalid API key", "another")
    for name, text in [("quota_exceeded", "quota"), ("system_busy", "heavy traffic")]:
        set_scenario(SCENARIO + fault("tts", on="message", kind="vendor", name=f"elevenlabs_{name}", count=0))
        refused(name, text)
    set_scenario(SCENARIO + 'voices = ["none"]\n')
    refused("voice_not_found", "voice_id")


@check
def silence_on_a_websocket():
    headers = {"xi-api-key": "el-key"}
    query = "model_id=eleven_flash_v2_5&output_format=pcm_16000&inactivity_timeout=1"
    with connect(f"{WS}/v1/text-to-speech/{VOICE}/stream-input?{query}", additional_headers=headers) as socket:
        socket.send(json.dumps({"text": " "}))
        message = json.loads(socket.recv())
        tables.prove(tables.ELEVENLABS_ERROR, message)
        assert message["error"] == "input_timeout_exceeded" and "timeout of 1.0 seconds" in message["message"], message
        raises(ConnectionClosedError, socket.recv)
        assert socket.close_code == 1008


record_httpx(httpx)
record_websockets()
main(SCENARIO)
