"""Servers with a configuration of their own, and workers of the tiny application, for a `with`."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
from celery.loaders.app import AppLoader

from orchestrator.broker import exec_with_parent
from orchestrator.broker.connection import socket_url
from orchestrator.broker.local_server import client, server_program
from orchestrator.settings import Settings, celery_settings
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def process(*command: str, log: Path, cwd: Path = ROOT, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with its block, or with this process."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, exec_with_parent.__file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | environment,
            cwd=cwd,
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(20)
            finally:
                running.kill()
                running.wait()


@contextlib.contextmanager
def server(folder: Path, *arguments: str) -> Iterator[Path]:
    """A server started with these arguments on the socket that is given back."""
    socket = folder / "s.sock"
    options = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(folder))
    with process(str(server_program()), *arguments, *options, log=folder / "server.log") as running:
        until(lambda: socket.exists() or running.poll() is not None)
        assert running.poll() is None, (folder / "server.log").read_text()
        yield socket


def strangers_folder(parent: Path, *modules: str) -> Path:
    """A folder with Python files that must not be run; `ran` in it tells that one was."""
    folder = parent / "strangers"
    folder.mkdir()
    for name in modules:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(9)\n")
    return folder


USERS = ("worker", "client", "operator")


@dataclass(frozen=True)
class Secured:
    """The server as documented, with its users. `admin` may do all, and sees what was denied."""

    url: str
    urls: dict[str, str]
    admin: Any
    folder: Path


@contextlib.contextmanager
def secured_server() -> Iterator[Secured]:
    """docs/redis at work. A user's password is `p/USER`."""
    documented = ROOT / "docs" / "redis"
    with tempfile.TemporaryDirectory(prefix="yolo-acl-") as name:
        folder = Path(name)
        text = (documented / "users.acl").read_text()
        for user in USERS:
            text = text.replace(f"{user.upper()}_PASSWORD_SHA256", hashlib.sha256(f"p/{user}".encode()).hexdigest())
        (folder / "users.acl").write_text(f"{text}user admin on nopass ~* &* +@all\n")
        with server(folder, str(documented / "redis.conf"), "--aclfile", str(folder / "users.acl")) as socket:
            url = socket_url(str(socket))
            urls = {user: url.replace("://", f"://{user}:p%2F{user}@") for user in USERS}
            with client(url.replace("://", "://admin:x@")) as admin:
                yield Secured(url, urls, admin, folder)


@contextlib.contextmanager
def worker(url: str, folder: Path) -> Iterator[Path]:
    """A real worker of the tiny application that is ready for jobs; its log."""
    log = folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.orchestrator.tiny_app", "worker", "-c1", "-Qyolo,yolo-log"]
    with process(*command, "-E", "-ntiny@test", "-linfo", log=log, CELERY_BROKER_URL=url) as running:
        until(lambda: b"ready." in log.read_bytes() or running.poll() is not None, 30)
        assert running.poll() is None, log.read_text()
        yield log


@contextlib.contextmanager
def client_app(
    broker: str | Settings, *, loader: type[AppLoader] | None = None, **changed: object
) -> Iterator[celery.Celery]:
    """The application as a client has it, but for what is `changed` of its configuration. `loader`: that of the
    application, for our own result stores."""
    given = broker if isinstance(broker, Settings) else Settings(broker_url=broker)
    app = celery.Celery("tiny", loader=loader, set_as_current=False)
    app.conf.update(celery_settings(given, "client"), **changed)
    with contextlib.closing(app):
        yield app
