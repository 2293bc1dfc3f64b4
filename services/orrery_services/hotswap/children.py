"""Start, watch and end child processes from a PID 1 that stays small: no threads, no subprocess.

Signals become bytes in a pipe, so that waiting for a child, for its output, for a deadline and for
SIGTERM is one poll. Whoever is PID 1 also buries the orphans.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..protocol import stages

GRACE_SECONDS = 5.0
READ_BYTES = 1 << 16
RESULT_BYTES_MAX = 1 << 20
LOG_BYTES_MAX = 1 << 20
CUT = b"\n[more than 1 MiB said: the rest is not kept]\n"
LOOK_BYTES_MAX = 1 << 20  # of what a child says, before deadline and signals are looked at again
LOG_TAIL_BYTES = 400


class Ended(Exception):
    """SIGTERM came: the slot is to be used for something else."""


class Outcome(NamedTuple):
    """How a child ended: exit code as a container runtime would say it, peak memory, last words."""

    code: int
    peak_rss_bytes: int
    tail: str
    run_ms: float


class Waiter:
    """Turns signals into wake-ups. One per process, made before the first child."""

    def __init__(self) -> None:
        self._read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float, *files: int) -> list[int]:
        """Return which files have something to read, after a signal or `seconds` at most.

        Raises Ended on SIGTERM or SIGINT.
        """
        poll = select.poll()
        for file in (self._read, *files):
            poll.register(file, select.POLLIN)
        found = [file for file, _ in poll.poll(max(0, int(seconds * 1000 + 0.999)))]
        if self._read in found:
            found.remove(self._read)
            signals = os.read(self._read, READ_BYTES)
            if signal.SIGTERM in signals or signal.SIGINT in signals:
                raise Ended
        return found


def exit_code(status: int) -> int:
    """Return the exit code of a wait status; killed by signal n is 128 + n, for memory thus 137."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def reap(pid: int) -> tuple[int, int] | None:
    """Bury every dead child; return wait status and peak bytes of `pid` if it was among them."""
    found = None
    while True:
        try:
            dead, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if dead == 0:
            return found
        if dead == pid:
            found = status, usage.ru_maxrss * 1024


def end_group(pid: int, waiter: Waiter | None = None) -> None:
    """End a child and all it started: SIGTERM, then SIGKILL after GRACE_SECONDS.

    In a container, where we are the first process, what left the group goes too: a slot whose
    stage is done holds no memory.
    """
    if waiter is not None:
        _signal_group(pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and _alive(pid):
            with contextlib.suppress(Ended):
                waiter.wait(0.05)
    _signal_group(pid, signal.SIGKILL)
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)  # everybody but us


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def run(
    waiter: Waiter, argv: list[str], env: dict[str, str], deadline_s: float, log_path: str
) -> Outcome:
    """Run a command to its end; LOG_BYTES_MAX of what it says go to our output and to a log.

    Raises OSError when it cannot be started and Ended when we are to go; the child is gone then.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    log = _Log(read, log_path)
    started = time.monotonic()
    try:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            env,
            setpgroup=0,
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE],
            file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)],
        )
    except OSError:
        log.close()
        raise
    finally:
        os.close(write)
    try:
        status, peak, late = _watch(waiter, pid, started + deadline_s, log)
    except Ended:
        end_group(pid, waiter)
        reap(pid)
        raise
    finally:
        log.close()
    end_group(pid)  # whatever it left running belongs to nobody
    code = stages.DEADLINE if late else exit_code(status)
    return Outcome(code, peak, log.tail(), (time.monotonic() - started) * 1000)


def _watch(waiter: Waiter, pid: int, until: float, log: "_Log") -> tuple[int, int, bool]:
    late = False
    while True:
        ready = waiter.wait(1.0 if late else until - time.monotonic(), *log.files())
        if ready:
            log.copy()
        if ended := reap(pid):
            log.copy()
            return *ended, late
        if not late and time.monotonic() >= until:
            late = True
            end_group(pid, waiter)


class _Log:
    """Copies what a child says: to our own output, and to a file that survives the container."""

    def __init__(self, source: int, path: str) -> None:
        self._source = source
        self._open = True
        self._tail = b""
        self._left = LOG_BYTES_MAX
        self._files = [1]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # a disk that is full: the stage goes on without
            self._files.append(os.open(path, flags, 0o640))

    def files(self) -> tuple[int, ...]:
        return (self._source,) if self._open else ()

    def copy(self) -> None:
        for _ in range(LOOK_BYTES_MAX // READ_BYTES):
            if not self._open:
                return
            try:
                data = os.read(self._source, READ_BYTES)
            except BlockingIOError:
                return
            self._open = bool(data)
            self._keep(data)
            self._tail = (self._tail + data)[-LOG_TAIL_BYTES:]

    def _keep(self, data: bytes) -> None:
        if self._left < 0:
            return
        self._left -= len(data)
        kept = data if self._left >= 0 else data[: self._left] + CUT
        for file in self._files:
            with contextlib.suppress(OSError):  # nobody reads it, or the disk is full
                os.write(file, kept)

    def tail(self) -> str:
        return self._tail.decode("utf-8", "replace").strip()

    def close(self) -> None:
        for file in (self._source, *self._files[1:]):
            os.close(file)


def in_child(waiter: Waiter, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns (as JSON), computed in a process that takes its memory along.

    Raises ChildFailed with the exit code that the failure deserves, Ended when we are to go.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os._exit(_compute(write, function, arguments))
    os.close(write)
    os.set_blocking(read, False)
    try:
        text = _read_all(waiter, read)
    except Ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(read)
    _, status = os.waitpid(pid, 0)
    if code := exit_code(status):
        raise ChildFailed(code, text.decode("utf-8", "replace"))
    return json.loads(text)


class ChildFailed(Exception):
    """A helper failed: exit code of its class, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why or f"killed, exit code {code}")
        self.code = code


def _compute(write: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    try:
        text, code = json.dumps(function(*arguments)), 0
    except ChildFailed as cause:
        text, code = str(cause), cause.code
    except MemoryError as cause:
        text, code = f"out of memory: {cause}", stages.KILLED
    except Exception as cause:
        text, code = f"{type(cause).__name__}: {cause}", 1
    sys.stdout.flush()
    os.write(write, text.encode()[:READ_BYTES])
    return code


def _read_all(waiter: Waiter, file: int) -> bytes:
    text = b""
    while len(text) < RESULT_BYTES_MAX:
        if file in waiter.wait(60, file):
            data = os.read(file, READ_BYTES)
            if not data:
                break
            text += data
    return text
