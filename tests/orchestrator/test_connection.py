"""A broker's URL: how it is read, what is said when it can't be, and that its password is never shown."""

import pytest

from orchestrator.broker.connection import client, without_password
from orchestrator.broker.preflight import preflight
from orchestrator.errors import BrokerUrlError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pass@host:6379/0", "redis://***@host:6379/0"),
        ("redis://user:pass@host/0", "redis://***@host/0"),
        ("rediss://user:pa%40ss@host/0?ssl_cert_reqs=required", "rediss://***@host/0?ssl_cert_reqs=required"),
        ("redis://host/0?password=p&username=u&db=1", "redis://host/0?password=***&username=***&db=1"),
        ("redis+socket://u:p@/run/r.sock?virtual_host=0", "redis+socket://***@/run/r.sock?virtual_host=0"),
        ("redis://:p@ss@host/0", "redis://***@host/0"),
        ("redis://:pa/ss@host/0", "redis://***@host/0"),
        ("redis://:pa?ss@host/0", "redis://***@host/0"),
        ("redis://:p@a?x=s@host/0", "redis://***@host/0"),
        ("redis://:pa#ss@host/0", "redis://***@host/0"),
        ("redis://:a@h/0;redis://:b@i/0", "redis://***@h/0;redis://***@i/0"),
        ("redis://:pa;ss@host/0", "redis://***@host/0"),
        ("user:pass@host", "***@host"),
        ("host:6379", "host:6379"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://[::1]:1", {"host": "::1", "port": 1}),
        ("redis://u:p%2Fq%40@h", {"username": "u", "password": "p/q@"}),
        ("redis://h?password=p", {"password": "p"}),
        ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", {"ssl_cert_reqs": "required"}),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false", {"ssl_check_hostname": False}),
        ("rediss://h?ssl_cert_reqs=required&ssl_ca_certs=%2Fa%20b.pem", {"ssl_ca_certs": "/a b.pem"}),
        ("redis+socket:///a%20b.sock?virtual_host=3", {"path": "/a b.sock", "db": 3}),
        ("redis+socket://u:p@/a.sock", {"path": "/a.sock", "username": "u", "password": "p"}),
        ("unix:///a.sock?db=3", {"path": "/a.sock", "db": 3}),
    ],
)
def test_urls_are_read(url, expected):
    found = client(url).connection_pool.connection_kwargs
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", r"must start with redis://.*Got none of them"),
        ("kafka://guest:secret@host", r"^kafka://\*\*\*@host: .*Got kafka\.$"),
        ("redis://:pa/secret@host", r"In a password, write / as %2F"),
        ("redis://host:port", r"host or port can't be read"),
        ("redis://host:99999", r"host or port can't be read"),
        ("redis://host/zero", r"database must be a number"),
        ("redis+socket://run/redis.sock", r"three slashes"),
        ("unix://", r"three slashes"),
        ("rediss://host", r"Add \?ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=maybe", r"Add \?ssl_cert_reqs=required"),
        ("redis://:secret@a;redis://:secret@b", r"names several brokers"),
    ],
)
def test_urls_that_are_wrong(url, message):
    with pytest.raises(BrokerUrlError, match=message) as caught:
        preflight(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
