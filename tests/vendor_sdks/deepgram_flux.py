"""Deepgram's SDK on /v2/listen (Flux)."""

import json
import threading

import tables
from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v2.types import (
    ListenV2Configure,
    ListenV2ConfigureFailure,
    ListenV2ConfigureSuccess,
    ListenV2Connected,
    ListenV2FatalError,
    ListenV2TurnInfo,
)
from websockets.exceptions import InvalidStatus
from wire import (
    HTTP, RATE, RECORD, WS, assert_polite, check, fault, main, pieces, raises, record_websockets, set_scenario, silence,
    talk, wait_for,
)

SCENARIO = "seed = 1\n"
BASIC = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": RATE}


def client(key="dg-key"):
    environment = DeepgramClientEnvironment(base=HTTP, production=WS, agent=WS, agent_rest=HTTP)
    return DeepgramClient(api_key=key, environment=environment)


class Listener:
    """A connection of the SDK, with its messages collected by its own event loop in a thread."""

    def __init__(self, **query):
        self.context = client().listen.v2.connect(**query)
        self.connection = self.context.__enter__()
        self.messages = []
        self.connection.on(EventType.MESSAGE, self.messages.append)
        self.thread = threading.Thread(target=self.connection.start_listening, daemon=True)
        self.thread.start()
        self.request_id = self.connection._websocket.response.headers["dg-request-id"]

    def say(self, pcm):
        for piece in pieces(pcm, 80):
            self.connection.send_media(piece)

    def of(self, kind):
        return [m for m in self.messages if type(m) is kind]

    def events(self, *names):
        """Turn events of these names; without names all but Updates."""
        return [m for m in self.of(ListenV2TurnInfo) if (m.event in names if names else m.event != "Update")]

    def wait_for_turns(self, count):
        wait_for(f"{count} ends of turns", lambda: len(self.events("EndOfTurn")) >= count)

    def end(self):
        """Waits for the server's end and compares all that came; returns the close code."""
        self.thread.join(30)
        assert not self.thread.is_alive(), "the connection did not end"
        self.context.__exit__(None, None, None)
        counts = RECORD.compare(tables.LISTEN_V2)
        assert sum(counts.values()) == len(self.messages), "the SDK dropped messages"
        assert [m.sequence_id for m in self.messages] == list(range(len(self.messages)))
        assert type(self.messages[0]) is ListenV2Connected
        assert all(m.request_id == self.request_id for m in self.messages if type(m) is not ListenV2FatalError)
        # Every end of a turn says why, and nothing else does.
        assert all((m.trigger is not None) == (m.event == "EndOfTurn") for m in self.of(ListenV2TurnInfo))
        RECORD.clear()
        return self.connection._websocket.close_code


def spelling(coded):
    return " ".join(w["text"] for w in coded).capitalize() + "."


@check
def all_events_of_turns():
    begin, first = talk("--words", "1 2 3", "--gap-ms", "200", "--lead-ms", "1000")
    rest, second = talk("--words", "4 5", "--gap-ms", "700")
    last, third = talk("--words", "6 7 8", "--gap-ms", "0")
    stream = Listener(**BASIC, eager_eot_threshold=0.4, eot_threshold=0.7, eot_timeout_ms=5000, keyterm=["Baku"])
    stream.say(begin + rest)
    stream.wait_for_turns(1)
    stream.say(last + silence(0.02))
    wait_for("a second turn", lambda: len(stream.events("StartOfTurn")) == 2)
    stream.connection.send_force_end_turn()
    stream.wait_for_turns(2)
    stream.connection.send_close_stream()
    assert stream.end() == 1000

    names = [m.event for m in stream.events()]
    one_turn = ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn"]
    assert names == one_turn + ["StartOfTurn", "EndOfTurn"], names
    assert stream.events("Update")
    turns = stream.events("EndOfTurn")
    assert [t.transcript for t in turns] == [spelling(first + second), spelling(third)]
    assert [t.trigger for t in turns] == ["model", "manual"]
    assert [t.turn_index for t in turns] == [0, 1]
    # What was translated at the eager end may be used unchanged.
    assert stream.events("EagerEndOfTurn")[-1].transcript == turns[0].transcript
    for got, want in zip(turns[0].words[:3], first):
        assert abs(got.start - want["start"]) < 0.011 and abs(got.end - want["end"]) < 0.011, (got, want)
    indexes = [m.turn_index for m in stream.of(ListenV2TurnInfo)]
    assert indexes == sorted(indexes)
    assert_polite()


@check
def a_turn_that_times_out():
    # Confidence grows so slowly that silence ends the turn first.
    set_scenario(SCENARIO + "[flux]\nconfident_ms = 60000\nword_times = false\n")
    pcm, coded = talk("--words", "1 2 3", "--gap-ms", "700", "--lead-ms", "1000")
    stream = Listener(**BASIC, eot_timeout_ms=500)
    stream.say(pcm)
    stream.wait_for_turns(1)
    stream.connection.send_close_stream()
    assert stream.end() == 1000
    turn = stream.events("EndOfTurn")[0]
    assert (turn.trigger, turn.transcript) == ("timeout", spelling(coded))
    assert all(w.start is None and w.end is None for w in turn.words)
    assert not stream.events("EagerEndOfTurn", "TurnResumed")


@check
def many_languages():
    pcm, _ = talk("--words", "1 2", "--language", "es", "--gap-ms", "700", "--lead-ms", "1000")
    for hints in ([], ["es", "en"]):
        stream = Listener(**{**BASIC, "model": "flux-general-multi"}, **({"language_hint": hints} if hints else {}))
        stream.say(pcm)
        stream.wait_for_turns(1)
        stream.connection.send_close_stream()
        assert stream.end() == 1000
        turn = stream.events("EndOfTurn")[0]
        assert turn.languages == ["es"]
        assert turn.languages_hinted == (hints or None), turn.languages_hinted
    assert_polite()


@check
def configure():
    stream = Listener(**BASIC)
    wanted = {"eager_eot_threshold": 0.5, "eot_threshold": 0.8, "eot_timeout_ms": 3000}
    stream.connection.send_configure(ListenV2Configure(thresholds=wanted, keyterms=["Baku"]))
    wait_for("success", lambda: stream.of(ListenV2ConfigureSuccess))
    done = stream.of(ListenV2ConfigureSuccess)[0]
    assert done.keyterms == ["Baku"] and done.thresholds.eot_timeout_ms == 3000, done
    assert (done.thresholds.eager_eot_threshold, done.thresholds.eot_threshold) == (0.5, 0.8), done
    stream.connection.send_configure({"type": "Configure", "thresholds": {"eot_threshold": 5}})
    wait_for("failure", lambda: stream.of(ListenV2ConfigureFailure))
    stream.connection.send_close_stream()
    assert stream.end() == 1000
    # Without eager ends of turns there is no threshold to tell.
    plain = Listener(**BASIC)
    plain.connection.send_configure(ListenV2Configure(keyterms=["Zodi"]))
    wait_for("success", lambda: plain.of(ListenV2ConfigureSuccess))
    plain.connection.send_close_stream()
    assert plain.end() == 1000


@check
def fatal_errors():
    set_scenario(SCENARIO + "[flux]\nidle_timeout_ms = 300\n")
    idle = Listener(**BASIC)
    assert idle.end() == 1011
    assert [e.code for e in idle.of(ListenV2FatalError)] == ["INACTIVE_CLIENT"]
    # KeepAlive is a message of /v1/listen only.
    set_scenario(SCENARIO)
    stranger = Listener(**BASIC)
    stranger.connection._send({"type": "KeepAlive"})
    assert stranger.end() == 1008
    assert len(stranger.of(ListenV2FatalError)) == 1


@check
def refusals():
    def refused(status, code, query=BASIC, key="dg-key"):
        def connect():
            with client(key).listen.v2.connect(**query):
                pass

        response = raises(InvalidStatus, connect).response
        body = json.loads(bytes(response.body))
        tables.prove(tables.DEEPGRAM_REFUSED, body)
        assert (response.status_code, body["err_code"]) == (status, code), (response, body)
        assert body["request_id"] == response.headers["dg-request-id"]

    refused(401, "INVALID_AUTH", key="another")
    refused(400, "INVALID_QUERY_PARAMETER", {**BASIC, "eager_eot_threshold": 0.8, "eot_threshold": 0.6})
    set_scenario(SCENARIO + fault("stt", kind="vendor", name="deepgram_429", count=0))
    refused(429, "TOO_MANY_REQUESTS")


record_websockets()
main(SCENARIO)
