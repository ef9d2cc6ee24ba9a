"""Results of tasks in a database: its URL, its check, what is read there, and a whole job."""

import pickle
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import orchestrator.broker
from orchestrator.application import Loader
from orchestrator.broker import health, preflight
from orchestrator.broker.connection import without_password
from orchestrator.errors import BrokerUnreachable, BrokerUrlError
from orchestrator.settings import Settings
from tests.chaos.farm import Farm
from tests.orchestrator.servers import client_app

pytest.importorskip("sqlalchemy")


@pytest.fixture
def url(tmp_path):
    return f"db+sqlite:///{tmp_path}/results.sqlite3"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A database whose changes are committed at the end; sqlite3's own context leaves it open."""
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def test_it_serves_us(url, tmp_path):
    assert preflight.failure_of(url) is None
    found = health.check_results(url)
    assert (found.state, found.detail) == ("ok", f"{url} writes and reads")
    with opened(tmp_path / "results.sqlite3") as database:
        assert database.execute("select count(*) from celery_taskmeta").fetchone() == (0,)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("db+mysql+pymysql://me:S3cret@host/d", r"driver .* not installed: pip install pymysql"),
        ("db+nonsense://me:S3cret@host/d", "not the URL of a database, like db[+]sqlite"),
        ("db+postgresql://me:S3cret@host:port/d", "not the URL of a database"),
    ],
)
def test_a_url_that_is_of_no_use_is_refused_with_a_remedy(given, why):
    with pytest.raises(BrokerUrlError, match=why) as caught:
        preflight.preflight(given)
    assert "S3cret" not in str(caught.value) + without_password(given)


def test_without_sqlalchemy_it_is_refused_with_the_remedy(url, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "orchestrator.broker.database_results", raising=False)
    monkeypatch.delattr(orchestrator.broker, "database_results", raising=False)
    with pytest.raises(BrokerUrlError, match=r"need SQLAlchemy: pip install .*\[database\]'"):
        preflight.preflight(url)


def test_a_database_that_is_not_there_is_told(tmp_path):
    given = f"db+sqlite:///{tmp_path}/nowhere/results.sqlite3"
    with pytest.raises(BrokerUnreachable, match=r"can't be used: unable to open .*CELERY_RESULT_BACKEND"):
        preflight.preflight(given, variable="CELERY_RESULT_BACKEND")


class Struck:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("what is in the database was run",)


def test_what_is_stored_is_json_and_nothing_else_is_read(url, tmp_path):
    with client_app(Settings(result_backend=url, state_dir=tmp_path), loader=Loader) as app:
        app.backend.store_result("a", {"frames": 3}, "SUCCESS")
        assert app.AsyncResult("a").get(timeout=5) == {"frames": 3}
        with opened(tmp_path / "results.sqlite3") as database:
            assert database.execute("select result from celery_taskmeta").fetchone() == (b'{"frames": 3}',)
            database.execute("update celery_taskmeta set result = ?", (pickle.dumps(Struck()),))
        with pytest.raises(Exception, match=r"codec can't decode|Expecting value"):
            app.backend.get_task_meta("a", cache=False)


def test_old_results_are_removed(url, tmp_path):
    with client_app(Settings(result_backend=url, state_dir=tmp_path), loader=Loader) as app:
        for name in ("old", "new"):
            app.backend.store_result(name, 1, "SUCCESS")
        with opened(tmp_path / "results.sqlite3") as database:
            database.execute("update celery_taskmeta set date_done = '2026-01-01 00:00:00' where task_id = 'old'")
        app.backend.cleanup()
        with opened(tmp_path / "results.sqlite3") as database:
            assert database.execute("select task_id from celery_taskmeta").fetchall() == [("new",)]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_job_tells_its_result_there(url, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOS_BROKER", "folder")
    with Farm(tmp_path / "f", CELERY_RESULT_BACKEND=url) as farm:
        farm.clips(1, frames=20)
        job = farm.submit()
        worker = farm.worker()
        told = farm.app.AsyncResult(job.id).get(timeout=120)
        farm.wait(job)
        assert told["success"]
        assert farm.stop(worker) == 0
