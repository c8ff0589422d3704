"""What the scripts share: a recorder below the SDKs, the emulator's control paths, coded speech, and counting.

A script is started with the emulator's address, its program, and a folder for files.
"""

import faulthandler
import json
import pathlib
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
import wave

import tables

ADDRESS, PROGRAM, FOLDER = sys.argv[1:4]
HTTP = f"http://{ADDRESS}"
WS = f"ws://{ADDRESS}"
RATE = 16000
# Longer than anything that is waited for.
PATIENCE_S = 30

CHECKS = []


def check(function):
    """Marks a check; they run in the order of the file, each with nothing recorded and the script's own scenario."""
    CHECKS.append(function)
    return function


def main(scenario, limit_s=240):
    """Runs all checks, says what became of each, and exits with 1 if one failed or none was there."""
    # A hang is a failure too, and should tell where.
    faulthandler.dump_traceback_later(limit_s, exit=True)
    good = 0
    for function in CHECKS:
        try:
            set_scenario(scenario)
            ask("DELETE", "/__stats")
            RECORD.clear()
            function()
            good += 1
            print(f"ok      {function.__name__}", flush=True)
        except BaseException:  # an SDK may raise anything, and the other checks should be seen all the same
            print(f"FAILED  {function.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{good} of {len(CHECKS)} checks passed", flush=True)
    sys.exit(0 if good == len(CHECKS) > 0 else 1)


def ask(method, path, body=None):
    request = urllib.request.Request(HTTP + path, method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.read()
    except urllib.error.HTTPError as e:
        raise AssertionError(f"{method} {path}: {e.code} {e.read().decode()}") from None


def set_scenario(text):
    ask("PUT", "/__scenario", text.encode())


def fault(stage, **keys):
    """A fault of the scenario, from the first request on."""
    lines = [f'stage = "{stage}"', "at = 1"] + [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return "\n[[fault]]\n" + "\n".join(lines) + "\n"


def stats():
    return json.loads(ask("GET", "/__stats"))


def assert_polite():
    """The emulator found nothing that the vendor would not let a client do."""
    seen = stats()
    assert seen["violations_total"] == 0, seen["violations"]


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.005)


def raises(kind, function):
    """Calls, and returns the exception of exactly that class."""
    try:
        function()
    except kind as e:
        assert type(e) is kind, f"{type(e)} and not {kind} itself"
        return e
    raise AssertionError(f"no {kind.__name__}")


def talk(*args):
    """Coded speech: its samples as bytes (16 kHz, 16 bit) and its words with times."""
    path = pathlib.Path(FOLDER) / "talk.wav"
    said = subprocess.run([PROGRAM, "talk", "--rate", str(RATE), *args, str(path)], check=True, capture_output=True)
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes()), json.loads(said.stdout)["words"]


def hear(pcm, rate=RATE):
    """The words of coded speech, which must be whole."""
    path = pathlib.Path(FOLDER) / "hear.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(pcm)
    heard = json.loads(subprocess.run([PROGRAM, "ear", str(path)], check=True, capture_output=True).stdout)
    assert not heard["damaged"], heard["damaged"]
    return [word["text"] for word in heard["words"]]


def silence(seconds):
    return bytes(2 * round(seconds * RATE))


def pieces(pcm, ms=20):
    step = 2 * RATE * ms // 1000
    return [pcm[i : i + step] for i in range(0, len(pcm), step)]


class Reply:
    """One HTTP reply as it came."""

    def __init__(self, status, headers):
        self.status = status
        self.headers = headers
        self.body = bytearray()

    def json(self):
        return json.loads(self.body)


class Record:
    """What came through sockets and replies, below the SDKs' parsers."""

    def clear(self):
        self.received = []
        self.sent = []
        self.replies = []

    def __init__(self):
        self.clear()

    def messages(self):
        """All TEXT frames that were received, as JSON."""
        return [json.loads(data) for data in self.received if isinstance(data, str)]

    def asked(self):
        """All TEXT frames that were sent, as JSON."""
        return [json.loads(data) for data in self.sent if isinstance(data, str)]

    def compare(self, by_type):
        """Compares every message with the table of its type; returns how many there were of each."""
        counts = {}
        for message in self.messages():
            kind = message.get("type")
            assert kind in by_type, f"a message of no known type: {message!r}"
            # To prove the table costs hundreds of comparisons: once for each shape of message.
            shape = (kind, message.get("event"), bool(message.get("words")), message.get("is_final"))
            if shape in counts:
                wrong = tables.compare(by_type[kind], message)
                assert not wrong, f"{wrong} in {message!r}"
            else:
                tables.prove(by_type[kind], message)
            counts[shape] = counts.get(shape, 0) + 1
        totals = {}
        for (kind, *_), count in counts.items():
            totals[kind] = totals.get(kind, 0) + count
        return totals


RECORD = Record()


def record_websockets():
    from websockets.sync.connection import Connection

    recv, send = Connection.recv, Connection.send

    def recording_recv(self, *args, **kwargs):
        data = recv(self, *args, **kwargs)
        RECORD.received.append(data)
        return data

    def recording_send(self, message, *args, **kwargs):
        RECORD.sent.append(message)
        return send(self, message, *args, **kwargs)

    Connection.recv, Connection.send = recording_recv, recording_send


def record_httpx(module):
    """For `httpx` and what has its interface."""
    iter_raw = module.Response.iter_raw

    def recording(self, *args, **kwargs):
        reply = Reply(self.status_code, self.headers)
        RECORD.replies.append(reply)
        for chunk in iter_raw(self, *args, **kwargs):
            reply.body += chunk
            yield chunk

    module.Response.iter_raw = recording


def record_requests():
    import requests

    send = requests.Session.send

    def recording(self, request, **kwargs):
        response = send(self, request, **kwargs)
        reply = Reply(response.status_code, response.headers)
        reply.body += response.content
        reply.request = request
        RECORD.replies.append(reply)
        return response

    requests.Session.send = recording
