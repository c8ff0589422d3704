#!/usr/bin/env python3
"""The demo: two people talk through mgw, each in their own language, and one can watch and hear it.

`make demo` runs it. It needs Python's standard library only. What it does, in order:

1. makes the two speakers' WAV files and starts the local cloud (or takes the real services, --cloud),
2. builds c-examples/translate_call and lets it carry the call at the pace of a call,
3. shows the events as they happen (mgw_demo/live.py),
4. measures the recordings (mgw_demo/report.py) and draws the picture (mgw_demo/picture.py).

Exit status: 0 all was translated and heard, 1 something failed (one line says what), 2 bad arguments,
130 interrupted, 143 terminated.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BEGAN = time.monotonic()
# The source tree stays as it is.
sys.dont_write_bytecode = True

from mgw_demo import live, picture, report, wav  # noqa: E402
from mgw_demo.children import Children, Failed, Terminated  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
KEYS = ["DEEPGRAM_API_KEY", "DEEPL_API_KEY", "ELEVENLABS_API_KEY"]
# Ids of voices that every account has; the local cloud goes by language and finds its own.
VOICES = {"7777": "21m00Tcm4TlvDq8ikWAM", "8888": "29vD33N1CtxCmqQRPOHJ"}


def arguments():
    p = argparse.ArgumentParser(prog="demo.py", description="Two people talk through mgw; watch and hear it.")
    p.add_argument("--wav-a", metavar="FILE", help="what 7777 says in English (16-bit mono WAV) instead of the demo's")
    p.add_argument("--wav-b", metavar="FILE", help="what 8888 says in Spanish instead of the demo's")
    p.add_argument("--cloud", action="store_true", help="the real services, with keys from " + ", ".join(KEYS))
    p.add_argument("--services", metavar="URL", help="with --cloud: where all three services are reached instead")
    p.add_argument("--port", type=int, default=0, metavar="N", help="the local cloud's port (default: a free one)")
    p.add_argument("--out", type=Path, default=ROOT / "target/demo", help="folder for all results (target/demo)")
    p.add_argument("--library-dir", type=Path, default=ROOT / "target/release", help="where libmgw.so is")
    p.add_argument("--cloud-bin", type=Path, help="mgw-local-cloud (default: beside the library)")
    p.add_argument("--plain", action="store_true", help="plain lines on a terminal, too")
    p.add_argument("--max-s", type=int, default=600, metavar="N", help="end the call after so long (600)")
    ask = p.parse_args()
    if not 0 <= ask.port <= 65535:
        p.error("--port takes 0 to 65535")
    if ask.services and not ask.cloud:
        p.error("--services goes with --cloud")
    ask.cloud_bin = ask.cloud_bin or ask.library_dir / "mgw-local-cloud"
    return ask


def check(ask):
    """Everything that can be known to be missing before anything is started."""
    if not (ask.library_dir / "libmgw.so").is_file():
        raise Failed(f"{ask.library_dir / 'libmgw.so'} is missing; build it: cargo build --release --features local-cloud")
    needs_local = not ask.cloud or not (ask.wav_a and ask.wav_b)
    if needs_local and not ask.cloud_bin.is_file():
        raise Failed(f"{ask.cloud_bin} is missing; build it: cargo build --release --features local-cloud")
    if ask.cloud:
        unset = [key for key in KEYS if not os.environ.get(key)]
        if unset:
            raise Failed(f"--cloud needs the services' keys in the environment; not set: {', '.join(unset)}")
    for file in filter(None, (ask.wav_a, ask.wav_b)):
        wav.read(Path(file))  # raises Failed with the reason


def tools():
    missing = [name for name in ("make", "cc", "pkg-config") if not any(
        os.access(Path(folder) / name, os.X_OK) for folder in os.get_exec_path())]
    if missing:
        packages = " ".join("gcc" if name == "cc" else name for name in missing)
        raise Failed(f"missing: {', '.join(missing)}; install it: apt-get install {packages}")


def build_example(ask, children):
    """c-examples/translate_call by its own Makefile, as a user of an installed mgw would build it."""
    tools()
    folder = ask.out / "build"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"', manifest, re.M)[1]
    abi = re.search(r"^abi-version = (\d+)", manifest, re.M)[1]
    for name in ("libmgw.so", f"libmgw.so.{abi}"):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to((ask.library_dir / "libmgw.so").resolve())
    text = (ROOT / "mgw.pc.in").read_text()
    for field, value in (("PREFIX", folder), ("LIBDIR", folder), ("INCLUDEDIR", ROOT / "include"), ("VERSION", version)):
        text = text.replace(f"@{field}@", str(value))
    (folder / "mgw.pc").write_text(text)
    children.run(["make", "-s", "-C", ROOT / "c-examples", f"OUT={folder}", f"PKG_CONFIG_PATH={folder}",
                  folder / "translate_call"], "c-examples/translate_call could not be built")
    return folder / "translate_call"


def start_cloud(ask, children):
    """The local cloud on a port of its own; returns its URL."""
    log = ask.out / "local-cloud.log"
    cloud = children.start(
        [ask.cloud_bin, "serve", "--engine", "offline", "--listen", f"127.0.0.1:{ask.port}", "--exit-with-parent"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    return cloud, log


def cloud_address(cloud, log, port):
    line = cloud.stdout.readline()
    found = re.search(r"listening on (\S+)", line)
    if found:
        return "http://" + found[1]
    cloud.wait(10)
    last = (log.read_text(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
    last = last.removeprefix("mgw-local-cloud: ")
    if "Address already in use" in last:
        last = f"port {port} is already taken; leave --port out for a free one"
    raise Failed(last)


def simulated(url):
    """What the local cloud waits before it answers, as the services would: least milliseconds of mt and tts."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/__scenario", timeout=5) as reply:
        scenario = json.load(reply)
    return {"mt": scenario["mt"]["latency_ms"], "tts": scenario["tts"]["first_audio_ms"]}


def write_config(ask, url):
    """A configuration as a user would write it. Keys stay in the environment."""
    lines = ["# Written by scripts/demo.py. The services' keys are in the environment."]
    if url:
        lines += [f'{vendor}.base_url = "{url}"' for vendor in ("deepgram", "deepl", "elevenlabs")]
    for profile, language, ear in (("7777", "en", "Spanish"), ("8888", "es", "English")):
        lines += ["", f"[profile.{profile}]", f'language = "{language}"',
                  f"# The voice in which the other hears this caller, in {ear}.", f'tts.voice = "{VOICES[profile]}"']
    path = ask.out / "mgw.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def carry_call(ask, children, program, config, said, view, facts):
    """Runs the call to its end and gives every event to the view and the facts."""
    heard = {leg: ask.out / f"{leg}-heard.wav" for leg in ("7777", "8888")}
    environment = dict(os.environ)
    if not ask.cloud:
        environment.update({key: "local-cloud" for key in KEYS})
    log = ask.out / "translate_call.log"
    call = children.start(
        [program, "--quiet", "--max-s", str(ask.max_s), "--json", "/dev/stdout", config, said["7777"], said["8888"],
         heard["7777"], heard["8888"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
    facts.call_began()
    trouble = None
    events = live.Events(call.stdout)
    try:
        while not trouble and (came := events.read(live.REFRESH_S)) is not None:
            for event in came:
                facts.take(event)
                view.take(event)
            view.tick()
            trouble = facts.hopeless()
    except BaseException:
        trouble = trouble or "interrupted"
        raise
    finally:
        # Whatever ended it: it writes down what was heard so far and tells its last events.
        if trouble:
            call.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 8
        while (came := events.read(max(deadline - time.monotonic(), 0))):
            for event in came:
                facts.take(event)
        children.finish(call, max(deadline - time.monotonic(), 0.1))
        view.end()
    if trouble:
        raise Failed(trouble)
    if call.returncode:
        words = (log.read_text(errors="replace").strip().splitlines() or [f"translate_call ended with {call.returncode}"])
        raise Failed(words[-1])


def prepare(ask, children, view, facts):
    """Voices, local cloud and example, as far as they are needed; returns (program, url, files of what is said)."""
    view.note("7777 speaks and hears English, 8888 speaks and hears Spanish.")
    said = {"7777": Path(ask.wav_a or ask.out / "english.wav"), "8888": Path(ask.wav_b or ask.out / "spanish.wav")}
    cloud = None
    if ask.cloud:
        view.note("The services are Deepgram, DeepL and ElevenLabs; they bill for this.")
    else:
        view.note("No account, no network: recognition, translation and voices run on this machine.")
        view.note("Of Spanish it understands a book of 46 call phrases only; English freely.")
        cloud, log = start_cloud(ask, children)
    if not (ask.wav_a and ask.wav_b):
        # Beside the local cloud, which loads its models meanwhile.
        children.run([ask.cloud_bin, "demo-voices", ask.out], "")
    url = cloud_address(cloud, log, ask.port) if cloud else ask.services
    if cloud:
        facts.simulated = simulated(url)
        view.note(f"It takes its time as the cloud services would: a translation {facts.simulated['mt'] / 1000:.1f} s, "
                  f"a voice {facts.simulated['tts'] / 1000:.1f} s, or longer if it needs it.")
    return build_example(ask, children), url, said


def main():
    ask = arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    signal.signal(signal.SIGTERM, Terminated.raise_it)
    view = live.view(sys.stdout, ask.plain)
    facts = report.Facts(BEGAN)
    said, ended, why = {}, 0, None
    with Children() as children:
        try:
            check(ask)
            ask.out = ask.out.resolve()
            ask.out.mkdir(parents=True, exist_ok=True)
            for old in ("7777-heard.wav", "8888-heard.wav", "report.json", "conversation.svg"):
                (ask.out / old).unlink(missing_ok=True)
            program, url, said = prepare(ask, children, view, facts)
            view.call(said)
            carry_call(ask, children, program, write_config(ask, url), said, view, facts)
        except KeyboardInterrupt:
            ended, why = 130, "interrupted"
        except Terminated:
            ended, why = 143, "terminated"
        except (Failed, OSError) as error:
            ended, why = 1, str(error)
    if facts.began_at is None:  # there was no call
        view.fail(why)
        return ended
    own = bool(ask.wav_a or ask.wav_b)
    result = report.make(facts, said, ask.out, why, least=1 if own else 3)
    report.write(result, ask.out / "report.json")
    (ask.out / "conversation.svg").write_text(picture.draw(result), encoding="utf-8")
    if ended:
        heard = f"; what was heard so far is in {live.short(ask.out)}" if result["segments"] else ""
        view.fail(why + heard)
        return ended
    view.table(result, ask.out)
    if not result["ok"]:
        view.fail(result["why"])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
