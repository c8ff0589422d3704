"""Child processes that never outlive the demo, however it ends."""

import ctypes
import os
import signal
import subprocess

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Failed(Exception):
    """The demo cannot go on; its text is the one line a user gets."""


class Terminated(BaseException):
    """SIGTERM came. Not an Exception, as KeyboardInterrupt is not."""

    @staticmethod
    def raise_it(*_):
        raise Terminated


def die_with(parent):
    """Runs in the child before exec: if the parent is killed, the kernel ends the child."""
    libc = ctypes.CDLL(None)

    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # the parent was gone before the call above
    return prepare


class Children:
    """All children; leaving the `with` block ends those that still run."""

    def __init__(self):
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The end is short (seconds) and must not be cut in half by a second Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for child in reversed(self.running):
            end(child)

    def start(self, command, stderr, **how):
        """Starts a program in a session of its own: Ctrl-C on the terminal reaches the demo only, which decides."""
        # Variables of an outer make are not meant for ours.
        environment = {k: v for k, v in (how.pop("env", None) or os.environ).items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        command = [str(word) for word in command]
        log = stderr if isinstance(stderr, int) else open(stderr, "wb")
        try:
            child = subprocess.Popen(command, stderr=log, env=environment, encoding="utf-8", errors="replace",
                                     start_new_session=True, preexec_fn=die_with(os.getpid()), **how)
        except OSError as error:
            raise Failed(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            if not isinstance(log, int):
                log.close()
        self.running.append(child)
        return child

    def run(self, command, what):
        """Runs a program to its end; if it fails, its last line of complaint is the reason."""
        child = self.start(command, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        told, _ = child.communicate()
        self.running.remove(child)
        if child.returncode:
            lines = told.strip().splitlines() or [f"{command[0]} ended with status {child.returncode}"]
            errors = [line for line in lines if "error" in line.lower()] if what else []
            line = (errors or lines)[-1 if not errors else 0].removeprefix("mgw-local-cloud: ")
            raise Failed(f"{what}: {line}" if what else line)

    def finish(self, child, seconds):
        """Waits for a child that is about to end; it is ended if it takes longer than `seconds`."""
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
        end(child)
        self.running.remove(child)


def end(child):
    """Asks a child to end, waits for it, and insists if need be."""
    if child.stdin:
        child.stdin.close()
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()
