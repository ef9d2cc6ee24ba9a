"""rediss:// URLs: everything that speaks to the broker takes the same one, and trusts no other certificate."""

import shutil
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import kombu
import pytest
import redis

from orchestrator.broker import preflight as module
from orchestrator.broker.health import check_health
from orchestrator.broker.local_server import client, preflight
from orchestrator.errors import BrokerUnreachable, BrokerUrlError
from tests.orchestrator.servers import client_app, worker
from tests.orchestrator.tls import Authority, proxy

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="the certificates are made with the openssl command"),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def tls(valkey):
    """`.ca` and `.wrong_ca` are files; `.url(...)` is a URL of the encrypted server."""
    with tempfile.TemporaryDirectory(prefix="yolo-tls-") as name:
        authority, other = Authority(Path(name, "ca")), Authority(Path(name, "other"))
        authority.sign("server")
        authority.sign("client")
        with proxy(valkey.broker.socket, authority) as port:

            def url(ca=authority.folder / "ca.crt", host="localhost", port=port, more=""):
                return f"rediss://{host}:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={quote(str(ca), safe='')}{more}"

            yield SimpleNamespace(url=url, port=port, authority=authority, wrong_ca=other.folder / "ca.crt")


def refusal(url: str) -> str:
    started = time.monotonic()
    with pytest.raises(BrokerUnreachable) as caught:
        preflight(url)
    assert time.monotonic() - started < 5
    return str(caught.value)


def test_a_client(tls, valkey):
    preflight(tls.url())
    with client(tls.url()) as connection:
        assert connection.info("server")["process_id"] == valkey.pid
        assert isinstance(connection.connection_pool.get_connection(), redis.SSLConnection)


def test_a_worker_and_its_client(tls, valkey, tmp_path):
    """Broker and result store both, and nothing of it beside the encrypted way."""
    with worker(tls.url(), tmp_path) as log, client_app(tls.url()) as app:
        assert app.send_task("add", (2, 3), task_id="over tls").get(timeout=20) == 5
        assert "rediss://localhost" in log.read_text()
    assert valkey.client.exists("celery-task-meta-over tls")
    valkey.client.flushall()


def test_health(tls):
    checks = {one.name: one for one in check_health(tls.url(), tls.url(), queues=[], model=None, output=Path())}
    assert (checks["broker"].state, checks["results"].state) == ("ok", "ok")


def test_a_wrong_authority(tls):
    text = refusal(tls.url(tls.wrong_ca))
    assert "the server's certificate is not trusted" in text
    assert "ssl_ca_certs=/PATH/ca.pem" in text
    with client(tls.url(tls.wrong_ca)) as connection, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY"):
        connection.ping()
    with (
        kombu.Connection(tls.url(tls.wrong_ca)) as connection,
        pytest.raises(kombu.exceptions.OperationalError, match="CERTIFICATE_VERIFY"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)
    with client_app(tls.url(tls.wrong_ca)) as app, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY"):
        app.backend.client.ping()


def test_another_host(tls):
    """The certificate is for localhost; whoever holds it is not therefore any other host."""
    text = refusal(tls.url(host="127.0.0.1"))
    assert "not trusted" in text
    assert "certificate is not valid for '127.0.0.1'" in text
    preflight(tls.url(host="127.0.0.1", more="&ssl_check_hostname=false"))
    with (
        kombu.Connection(tls.url(host="127.0.0.1")) as connection,
        pytest.raises(kombu.exceptions.OperationalError, match="CERTIFICATE_VERIFY"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_without_an_authority_the_system_s_are_asked(tls):
    assert "not trusted" in refusal(f"rediss://localhost:{tls.port}/0?ssl_cert_reqs=required")
    preflight(f"rediss://localhost:{tls.port}/0?ssl_cert_reqs=none")
    with pytest.raises(BrokerUrlError, match=r"Add \?ssl_cert_reqs=required"):
        preflight(f"rediss://localhost:{tls.port}/0")


def test_files_that_are_not_there(tls, tmp_path):
    assert "does not exist" in refusal(tls.url(tmp_path / "none.crt"))
    (tmp_path / "empty.crt").write_text("")
    assert "no TLS connection" in refusal(tls.url(tmp_path / "empty.crt"))


def test_plain_to_a_server_with_tls(tls):
    assert "the server speaks TLS. Write rediss:// instead of redis://" in refusal(f"redis://localhost:{tls.port}/0")


def test_tls_to_a_plain_server(tls, fresh_valkey, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    for port in range(20_000, 20_100):
        try:
            fresh_valkey.client.config_set("port", port)
        except redis.ResponseError:
            continue  # in use
        break
    assert "the server speaks without TLS. Write redis:// instead of rediss://" in refusal(tls.url(port=port))
    fresh_valkey.client.config_set("requirepass", "secret")
    assert "the server speaks without TLS" in refusal(tls.url(port=port))


def test_a_server_that_asks_for_a_certificate(tls, valkey):
    files = tls.authority.folder
    own = f"&ssl_certfile={files / 'client.crt'}&ssl_keyfile={files / 'client.key'}"
    with proxy(valkey.broker.socket, tls.authority, client_certificates=True) as port:
        # Seen as a broken connection or as OpenSSL's alert, whichever is first.
        assert "add `&ssl_certfile=FILE&ssl_keyfile=FILE`" in refusal(tls.url(port=port))
        preflight(tls.url(port=port, more=own))
        with client_app(tls.url(port=port, more=own)) as app:
            assert app.backend.client.ping()
            app.connection().ensure_connection(max_retries=1)
