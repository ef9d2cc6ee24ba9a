"""A broker that does not serve is named as such, with the remedy, within 5 s, however it fails."""

import errno
import gc
import select
import socket
import struct
import threading
import time

import pytest
import redis

from orchestrator.broker import preflight as module
from orchestrator.broker.connection import client, socket_url
from orchestrator.broker.preflight import preflight
from orchestrator.errors import BrokerUnreachable
from tests.orchestrator.fake_server import fake_server

pytestmark = pytest.mark.timeout(30)


def refusal(url: str, **options) -> str:
    """The message of a preflight that must fail, and within 5 s."""
    started = time.monotonic()
    with pytest.raises(BrokerUnreachable) as caught:
        preflight(url, **options)
    assert time.monotonic() - started < 5
    return str(caught.value)


def test_a_broker_that_serves(valkey):
    preflight(valkey.url)
    preflight(f"unix://{valkey.broker.socket}")
    assert [key for key in valkey.client.scan_iter("yolo:probe:*") if valkey.client.pttl(key) > 1000] == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "not a Redis"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "not a Redis"),
        ([b"+OK POP3 ready\r\n"], "not a Redis"),
        ([b""], "the connection broke without an answer"),
        ([b"-LOADING Valkey is loading the dataset in memory\r\n"], "still loading"),
        ([b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"], "can't write to its disk"),
        ([b"-NOPERM User x has no permissions to run the 'ping' command\r\n"], "may not do that"),
        ([b"-ERR max number of clients reached\r\n"], "no connection left"),
        ([b"-WHAT is that\r\n"], "answers with an error: WHAT is that"),
        ([b"-NOAUTH Authentication required.\r\n"], "authentication required: the URL contains no password"),
        ([b"+PONG\r\n", b"-MOVED 1 127.0.0.1:7000\r\n"], "a Redis Cluster"),
        ([b"+PONG\r\n", b"-OOM command not allowed\r\n"], "memory is full"),
    ],
)
def test_answers_of_what_is_no_broker(answers, message):
    with fake_server(*answers) as url:
        assert message in refusal(url)


def test_a_server_that_resets_what_it_accepts(monkeypatch):
    """And so the connection on which TLS is tried, before its handshake. Warnings are errors here: nothing is left
    open."""
    at_once = struct.pack("ii", 1, 0)
    real, connected = socket.create_connection, threading.Event()

    def reset(*arguments, **options):
        made = real(*arguments, **options)
        connected.set()
        listening = select.poll()
        listening.register(made, select.POLLIN)
        assert listening.poll(10_000)
        return made

    def serve():
        first, _ = listener.accept()
        with first:
            first.recv(4096)
        second, _ = listener.accept()
        with second:
            assert connected.wait(10)
            second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        monkeypatch.setattr(socket, "create_connection", reset)
        assert "the connection broke without an answer" in refusal(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        server.join(10)
        assert not server.is_alive()
    gc.collect()


def test_nothing_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = refusal(f"redis://user:secret@127.0.0.1:{port}/0")
    assert text.startswith(f"redis://***@127.0.0.1:{port}/0: refused: nothing listens there.")
    for remedy in ("export CELERY_BROKER_URL=", "apt-get install redis-server", "--embedded"):
        assert remedy in text
    assert "export CELERY_RESULT_BACKEND=" in refusal(f"redis://127.0.0.1:{port}", variable="CELERY_RESULT_BACKEND")
    assert "no such socket" in refusal(socket_url(str(tmp_path / "none.sock")))


def test_a_name_that_is_not_known(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "name of the host is not known" in refusal("redis://nowhere.invalid")


def test_a_network_without_a_way(monkeypatch):
    def no_way(*_):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", no_way)
    assert "no way to that host: no route to host" in refusal("redis://127.0.0.1:1")


@pytest.mark.parametrize("how", ["black hole", "frozen", "drips", "slow name"])
def test_silence_is_bounded(how, fresh_valkey, monkeypatch):
    if how == "frozen":
        fresh_valkey.freeze()
        assert "no answer in time" in refusal(fresh_valkey.url)
    elif how == "slow name":
        monkeypatch.setattr(module, "DEADLINE_S", 1.0)
        answers = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait(60))
        assert "no answer in time" in refusal("redis://slow.invalid")
        answers.set()
    else:
        monkeypatch.setattr(module, "DEADLINE_S", 2.5)
        answers = [b"+" + b"P" * 100] if how == "drips" else []
        with fake_server(*answers, drip_s=0.5) as url:
            assert "no answer in time" in refusal(url)


def test_passwords(fresh_valkey):
    path = fresh_valkey.broker.socket
    assert "server has none" in refusal(f"redis+socket://:secret@{path}")
    fresh_valkey.client.config_set("requirepass", "secret")
    assert "authentication required" in refusal(fresh_valkey.url)
    text = refusal(f"redis+socket://:wrong@{path}")
    assert "wrong user or password" in text
    assert "wrong@" not in text
    preflight(f"redis+socket://:secret@{path}")


def test_a_server_that_reads_but_does_not_write(fresh_valkey):
    fresh_valkey.client.config_set("maxmemory", 1)
    assert "memory is full" in refusal(fresh_valkey.url)
    preflight(fresh_valkey.url, write=False)
    fresh_valkey.client.config_set("maxmemory", 0)
    fresh_valkey.client.replicaof("127.0.0.1", 1)
    assert "read-only replica" in refusal(fresh_valkey.url)
    fresh_valkey.client.replicaof("NO", "ONE")
    assert "no database of that number" in refusal(socket_url(str(fresh_valkey.broker.socket), 99))


def test_another_user_s_socket(valkey, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", denied)
    assert "belongs to another user" in refusal(valkey.url)


def test_the_client_never_tries_again(fresh_valkey):
    with client(fresh_valkey.url, 0.2) as connection:
        fresh_valkey.freeze()
        started = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            connection.get("key")
        assert time.monotonic() - started < 1
