"""Deepgram's SDK on /v1/listen."""

import asyncio
import hashlib
import json
import threading

import tables
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureFailure,
    ListenV1ConfigureSuccess,
    ListenV1Error,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from wire import (
    HTTP, RATE, RECORD, WS, assert_polite, check, fault, main, pieces, raises, record_websockets, set_scenario, silence,
    talk, wait_for,
)

# Audio may come as fast as it likes, or the checks would last as long as the speech.
SCENARIO = "[deepgram]\nrate_limit = 1000.0\n"
BASIC = {"model": "nova-3", "encoding": "linear16", "sample_rate": RATE, "channels": 1}
LIVE = {
    **BASIC, "interim_results": "true", "endpointing": 300, "utterance_end_ms": 1000, "vad_events": "true",
    "smart_format": "true", "keyterm": ["Baku", "Zodi"], "tag": "sdk",
    "request_options": {"additional_query_parameters": {"no_delay": "true"}},
}
ENVIRONMENT = DeepgramClientEnvironment(base=HTTP, production=WS, agent=WS, agent_rest=HTTP)


def client(key="dg-key"):
    return DeepgramClient(api_key=key, environment=ENVIRONMENT)


class Listener:
    """A connection of the SDK, with its messages collected by its own event loop in a thread."""

    def __init__(self, **query):
        self.context = client().listen.v1.connect(**query)
        self.connection = self.context.__enter__()
        self.messages, self.errors = [], []
        self.connection.on(EventType.MESSAGE, self.messages.append)
        self.connection.on(EventType.ERROR, self.errors.append)
        self.thread = threading.Thread(target=self.connection.start_listening, daemon=True)
        self.thread.start()
        headers = self.connection._websocket.response.headers
        tables.prove(tables.UUID, headers["dg-request-id"])
        self.request_id = headers["dg-request-id"]

    def say(self, pcm):
        for piece in pieces(pcm):
            self.connection.send_media(piece)

    def of(self, kind):
        return [m for m in self.messages if type(m) is kind]

    def finals(self):
        return [m for m in self.of(ListenV1Results) if m.is_final]

    def end(self):
        """Waits for the server's end; returns its close code and reason."""
        self.thread.join(30)
        assert not self.thread.is_alive(), "the connection did not end"
        websocket = self.connection._websocket
        self.context.__exit__(None, None, None)
        return websocket.close_code, websocket.close_reason


def words(results):
    return [word for result in results for word in result.channel.alternatives[0].words]


@check
def a_live_stream():
    pcm, coded = talk("--words", "1 2 3 4 5 6 7 | 20 21 22", "--gap-ms", "1600", "--lead-ms", "1000")
    more, last = talk("--words", "30 31", "--gap-ms", "0")
    stream = Listener(**LIVE)
    stream.say(pcm)
    wait_for("both ends of utterances", lambda: len(stream.of(ListenV1UtteranceEnd)) == 2)
    ends = stream.of(ListenV1UtteranceEnd)
    assert [round(e.last_word_end, 2) for e in ends] == [round(coded[i]["end"], 2) for i in (6, 9)], ends
    # Speech that has not ended is only said because of Finalize.
    stream.say(more + silence(0.05))
    assert not any(m.from_finalize for m in stream.finals())
    stream.connection.send_keep_alive()
    stream.connection.send_finalize()
    wait_for("the answer to Finalize", lambda: any(m.from_finalize for m in stream.finals()))
    stream.connection.send_close_stream()
    assert stream.end() == (1000, "")
    assert not stream.errors, stream.errors

    heard = words(stream.finals())
    offset = len(pcm) / 2 / RATE
    wanted = coded + [{**w, "start": w["start"] + offset, "end": w["end"] + offset} for w in last]
    assert [w.word for w in heard] == [w["text"] for w in wanted], heard
    for got, want in zip(heard, wanted):
        assert abs(got.start - want["start"]) < 0.01 and abs(got.end - want["end"]) < 0.01, (got, want)
    first = stream.finals()[0].channel.alternatives[0].transcript
    assert first == " ".join(w["text"] for w in coded[:7]).capitalize() + ".", first
    finalized = [m for m in stream.finals() if m.from_finalize]
    assert [w.word for w in words(finalized)] == [w["text"] for w in last]
    assert [m.speech_final for m in stream.finals() if words([m])] == [True, True, False]

    interims = [m for m in stream.of(ListenV1Results) if not m.is_final]
    assert any(words([m]) for m in interims) and not any(m.speech_final for m in interims)
    started = stream.of(ListenV1SpeechStarted)
    assert [round(s.timestamp, 1) for s in started[:2]] == [round(coded[i]["start"], 1) for i in (0, 7)], started
    # Results follow each other without a hole.
    at = 0.0
    for result in stream.finals():
        assert abs(result.start - at) < 0.0005, (at, result)
        at = result.start + result.duration
    (metadata,) = stream.of(ListenV1Metadata)
    assert stream.messages[-1] is metadata
    assert abs(metadata.duration - (len(pcm) + len(more) + len(silence(0.05))) / 2 / RATE) < 0.01
    assert metadata.request_id == stream.request_id
    audio = b"".join(data for data in RECORD.sent if isinstance(data, bytes))
    assert metadata.sha256 == hashlib.sha256(audio).hexdigest()
    assert all(m.metadata.request_id == stream.request_id for m in stream.of(ListenV1Results))

    counts = RECORD.compare(tables.LISTEN_V1)
    assert set(counts) == {"Results", "Metadata", "UtteranceEnd", "SpeechStarted"}, counts
    assert sum(counts.values()) == len(stream.messages), "the SDK dropped messages"
    assert [m["type"] for m in RECORD.asked()] == ["KeepAlive", "Finalize", "CloseStream"]
    assert_polite()


@check
def many_languages():
    english, first = talk("--words", "1 2 3", "--gap-ms", "700", "--lead-ms", "1000")
    spanish, second = talk("--words", "4 5", "--language", "es", "--gap-ms", "700")
    stream = Listener(**{**BASIC, "language": "multi", "endpointing": 100})
    stream.say(english + spanish)
    stream.connection.send_close_stream()
    assert stream.end()[0] == 1000
    spoken = [m for m in stream.finals() if words([m])]
    assert [m.channel.alternatives[0].languages for m in spoken] == [["en"], ["es"]]
    assert [w.word for w in words(spoken)] == [w["text"] for w in first + second]
    assert [w.language for w in words(spoken)] == ["en"] * 3 + ["es"] * 2
    assert all(m.is_final for m in stream.of(ListenV1Results)), "nobody asked for interims"
    RECORD.compare(tables.LISTEN_V1)
    assert_polite()


@check
def configure():
    stream = Listener(**BASIC)
    stream.connection.send_configure(ListenV1Configure(keyterms=["Baku"]))
    stream.connection.send_configure(ListenV1Configure(keyterms=None, features={"numerals": True}))
    wait_for("both answers", lambda: len(stream.messages) == 2)
    assert [m.keyterms for m in stream.of(ListenV1ConfigureSuccess)] == [["Baku"], None], stream.messages
    stream.connection.send_close_stream()
    assert stream.end()[0] == 1000
    older = Listener(**{**BASIC, "model": "nova-2"})
    older.connection.send_configure(ListenV1Configure(keyterms=["Baku"]))
    wait_for("the answer", lambda: older.messages)
    (failure,) = older.of(ListenV1ConfigureFailure)
    assert failure.code == "CONFIGURE_KEYTERMS_NOT_SUPPORTED" and failure.request_id == older.request_id
    older.connection.send_close_stream()
    older.end()
    counts = RECORD.compare(tables.LISTEN_V1)
    assert counts["ConfigureSuccess"] == 2 and counts["ConfigureFailure"] == 1, counts


@check
def ends_that_are_errors():
    set_scenario(SCENARIO + "idle_timeout_ms = 300\n")
    idle = Listener(**BASIC)
    code, reason = idle.end()
    assert code == 1011 and reason.endswith("https://dpgr.am/net0001"), (code, reason)
    assert [type(e) for e in idle.errors] == [ConnectionClosedError], idle.errors
    set_scenario(SCENARIO)
    odd = Listener(**BASIC)
    odd.connection.send_media(b"\x01\x02\x03")
    code, reason = odd.end()
    assert code == 1008 and "DATA-0000" in reason, (code, reason)
    unknown = Listener(**BASIC)
    unknown.connection._send({"type": "Nonsense"})
    assert unknown.end()[0] == 1008
    (error,) = unknown.of(ListenV1Error)
    assert error.variant == "SchemaError"
    assert RECORD.compare(tables.LISTEN_V1)["Error"] == 1


def refused(status, code, query=BASIC, key="dg-key"):
    """A handshake that the emulator refuses, as both clients of the SDK tell it."""

    def connect():
        with client(key).listen.v1.connect(**query):
            pass

    # The SDK means to turn this into an ApiError, but looks for the name that the error has in its other client.
    response = raises(InvalidStatus, connect).response
    assert response.status_code == status, response
    tables.prove(tables.UUID, response.headers["dg-request-id"])
    assert response.headers["dg-error"]
    body = bytes(response.body)
    if code:
        body = json.loads(body)
        tables.prove(tables.DEEPGRAM_REFUSED, body)
        assert body["err_code"] == code, body
        assert body["request_id"] == response.headers["dg-request-id"]
        assert body["err_msg"] == response.headers["dg-error"]
    else:
        assert body and not body.startswith(b"{"), body

    async def connect_too():
        asking = AsyncDeepgramClient(api_key=key, environment=ENVIRONMENT)
        async with asking.listen.v1.connect(**query):
            pass

    error = raises(ApiError, lambda: asyncio.run(connect_too()))
    assert error.status_code == status, error
    tables.prove(tables.UUID, error.__context__.headers["dg-request-id"])


@check
def a_wrong_key():
    refused(401, "INVALID_AUTH", key="another")


@check
def bad_queries():
    refused(400, "Bad Request", {**BASIC, "model": "nova-9"})
    refused(400, "INVALID_QUERY_PARAMETER", {**BASIC, "utterance_end_ms": 1000})
    refused(400, "INVALID_QUERY_PARAMETER", {"model": "nova-3", "encoding": "linear16"})


@check
def refusals_by_the_vendor():
    for status, code in [
        (400, "Bad Request"),
        (402, "ASR_PAYMENT_REQUIRED"),
        (403, "INSUFFICIENT_PERMISSIONS"),
        (429, "TOO_MANY_REQUESTS"),
        (503, None),
    ]:
        set_scenario(SCENARIO + fault("stt", kind="vendor", name=f"deepgram_{status}", count=0))
        refused(status, code)


record_websockets()
main(SCENARIO)
