"""`yolo-server`: what it refuses, how fast it helps, and a Flower that tells nobody what they should not know."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.broker.local_server import server_program
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, settings
from orchestrator.worker import serve, server_cli
from orchestrator.worker.serve import chosen_queues, the_only
from tests.assets import ROOT
from tests.orchestrator.servers import process, strangers_folder
from tests.waiting import until


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("YOLO_", "CELERY_", "FLOWER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command line: exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-server", *arguments])
        with pytest.raises(SystemExit) as end:
            server_cli.main()
        output = capsys.readouterr()
        return end.value.code, output.out, output.err

    return run


# -- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--concurrency", "2"], "Choose one of --worker, --beat, --flower and --drain."),
        (["--worker", "--beat"], "Choose one of --worker, --beat, --flower and --drain"),
        (["--embedded"], "Choose one of"),
        (["--beat", "--embedded"], "--embedded does nothing here: it goes with --worker."),
        (["--flower", "--embedded"], "--embedded does nothing here: it goes with --worker."),
        (["--worker", "--concurrency", "0"], "--concurrency"),
        (["--worker", "--concurrency", "65"], "--concurrency"),
        (["--worker", "--concurrency", "many"], "--concurrency"),
        (["--worker", "--pool", "gevent"], "--pool"),
        (["--worker", "--loglevel", "loud"], "--loglevel"),
        (["--worker", "--log-format", "xml"], "--log-format"),
        (["--flower", "--port", "0"], "--port"),
        (["--flower", "--port", "65536"], "--port"),
        (["--nonsense"], "No such option"),
        (["--worker", "videos/"], "unexpected extra argument"),
        (["--beat", "--concurrency", "2"], "--concurrency does nothing here: it goes with --worker."),
        (["--flower", "--queues", "yolo"], "--queues does nothing here: it goes with --worker."),
        (["--flower", "--loglevel", "debug"], "--loglevel does nothing here: it goes with --worker and --beat."),
        (["--worker", "--port", "80"], "--port does nothing here: it goes with --flower."),
        (["--beat", "--include", "json"], "--include does nothing here: it goes with --worker."),
        (["--beat"], "No folder is watched. Name some in the file of YOLO_SETTINGS"),
    ],
)
def test_usage_errors(call, arguments, said):
    code, out, err = call(*arguments)
    assert code == 2
    assert said in err
    assert out == ""


def test_settings_that_are_wrong(call, tmp_path, monkeypatch):
    (tmp_path / "s.toml").write_text("max_attempts = 0")
    monkeypatch.setenv("YOLO_SETTINGS", str(tmp_path / "s.toml"))
    code, _, err = call("--worker")
    assert code == 2
    assert err.startswith("Error: Setting max_attempts: ")


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_answers_at_once(option):
    """It must not wait for Celery."""
    code = (
        "import sys, time\nfrom orchestrator.worker.server_cli import server\n"
        f"server.main([{option!r}], prog_name='yolo-server', standalone_mode=False)\n"
        "assert not {'celery', 'redis', 'pydantic', 'numpy', 'av'} & set(sys.modules), sys.modules\n"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 3
    assert "yolo-server" in done.stdout


def test_no_arguments_show_the_help(call):
    code, out, err = call()
    assert code in (0, 2)
    assert "--worker" in out + err


# -- queues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (None, []),
        ("yolo", ["yolo"]),
        ("yolo, yolo-log", ["yolo", "yolo-log"]),
        ("mine,yolo-gpu,", ["mine", "yolo-gpu"]),
    ],
)
def test_queues(asked, served):
    assert chosen_queues(Settings(queues=("mine",)), asked) == served


@pytest.mark.parametrize(("asked", "said"), [("yolo,other", "Got other."), ("", "Got none."), (" , ", "Got none.")])
def test_unknown_queues(asked, said):
    with pytest.raises(SettingsError, match=said) as error:
        chosen_queues(Settings(), asked)
    assert "yolo, yolo-gpu, yolo-log" in str(error.value)


def run_server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.worker.server_cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, timeout=60, check=False
    )


def test_a_worker_for_an_unknown_queue_does_not_start():
    done = run_server("--worker", "--queues", "nonsense", CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert "Error: --queues must be of yolo, yolo-gpu, yolo-log, celery. Got nonsense." in done.stderr


def test_an_embedded_worker_that_can_not_start_is_not_started_again_and_again():
    done = run_server("--worker", "--embedded", "--queues", "nonsense")
    assert done.returncode == 2
    assert done.stderr.count("--queues must be of") == 1


# -- tasks of one's own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "asked", "said"),
    [
        (None, "own_tasks", "--include own_tasks can't be imported: ModuleNotFoundError"),
        ("1 / 0", "own_tasks", "--include own_tasks can't be imported: ZeroDivisionError: division by zero."),
        ("", " , ", "--include must name at least one Python module"),
    ],
)
def test_modules_that_can_not_be_included(call, tmp_path, monkeypatch, source, asked, said):
    if source is not None:
        (tmp_path / "own_tasks.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, err = call("--worker", "--include", asked)
    assert code == 2
    assert said in err


def test_a_worker_runs_tasks_of_an_included_module(tmp_path, valkey, monkeypatch):
    """In the pool's children too, which are processes of their own."""
    (tmp_path / "own_tasks.py").write_text(
        "from orchestrator import app\n\n\n@app.task(name='count_rows')\ndef count_rows(path):\n"
        "    with open(path) as rows:\n        return sum(1 for _ in rows)\n"
    )
    (tmp_path / "a.tracks.jsonl").write_text("{}\n{}\n{}\n")
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    program = [sys.executable, "-P", "-m", "orchestrator.worker.server_cli", "--worker", "--name", "own"]
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    with process(*program, "--include", "own_tasks", log=tmp_path / "log", cwd=tmp_path, PYTHONPATH=path):
        from orchestrator.application import client_app

        client = client_app()
        sent = client.send_task("count_rows", args=[str(tmp_path / "a.tracks.jsonl")])
        assert sent.get(timeout=60) == 3, (tmp_path / "log").read_text()
        client.close()


# -- one scheduler ----------------------------------------------------------------------------------------------------


def test_one_beat_on_a_machine(tmp_path):
    with (
        the_only(tmp_path / "beat.lock", "Beat"),
        pytest.raises(SettingsError, match="Beat is already running on this machine"),
        the_only(tmp_path / "beat.lock", "Beat"),
    ):
        pass
    with the_only(tmp_path / "beat.lock", "Beat"):
        pass


def test_a_state_folder_that_can_not_be_made(call, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "s.toml").write_text('[[watch]]\nfolder = "/v"\noutput = "/o"')
    monkeypatch.setenv("YOLO_SETTINGS", str(tmp_path / "s.toml"))
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    code, _, err = call("--beat")
    assert code == 2
    assert "can't be made: not a directory" in err


# -- Flower -----------------------------------------------------------------------------------------------------------


class Replaced(Exception):
    """Instead of becoming another program."""


@pytest.fixture
def flower(call, monkeypatch):
    """What Flower would be started with."""

    def started(*arguments):
        found = []

        def execve(program, command, environment):
            found.append((command, environment))
            raise Replaced

        monkeypatch.setattr(serve.os, "execve", execve)
        monkeypatch.setattr(sys, "argv", ["yolo-server", "--flower", *arguments])
        with pytest.raises(Replaced):
            server_cli.main()
        return found[0]

    return started


def test_flower_is_started_for_this_machine_alone(flower, monkeypatch, capsys):
    monkeypatch.setenv("YOLO_FLOWER_AUTH", "me:geheim")
    command, environment = flower("--port", "5999")
    assert "--address=127.0.0.1" in command
    assert "--port=5999" in command
    assert "geheim" not in " ".join(command)
    assert environment["FLOWER_BASIC_AUTH"] == "me:geheim"
    assert "geheim" not in capsys.readouterr().err


def test_a_password_is_made_where_none_is_given(flower, capsys):
    made = {flower()[1]["FLOWER_BASIC_AUTH"] for _ in range(2)}
    assert len(made) == 2
    assert all(len(auth) > 15 and auth.startswith("yolo:") for auth in made)
    told = capsys.readouterr().err
    assert all(auth in told for auth in made)


@pytest.mark.parametrize(
    ("auth", "installed", "said"),
    [
        ("geheim", True, "YOLO_FLOWER_AUTH must be USER:PASSWORD"),
        ("me:ge,heim", True, "without commas"),
        ("a:b", False, "Flower is not installed"),
    ],
)
def test_flower_that_can_not_start(call, monkeypatch, auth, installed, said):
    monkeypatch.setenv("YOLO_FLOWER_AUTH", auth)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace() if installed else None)
    code, _, err = call("--flower")
    assert code == 2
    assert said in err
    assert "geheim" not in err


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def get(url: str, auth: str | None = None, body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body)
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def listening(port: int) -> set[str]:
    """Addresses, as the kernel writes them, on which somebody listens at a port."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                address, state = line.split()[1], line.split()[3]
                if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                    found.add(address.rpartition(":")[0])
    return found


def test_a_real_flower_tells_strangers_nothing_and_nobody_the_password(tmp_path):
    at, port = free_port(), free_port()
    secret, auth = "broker-geheim", "me:flower-geheim"
    url = f"redis://:{secret}@127.0.0.1:{at}/0"
    environment = {"CELERY_BROKER_URL": url, "YOLO_FLOWER_AUTH": auth}
    program = [sys.executable, "-P", "-m", "orchestrator.worker.server_cli"]
    here = strangers_folder(
        tmp_path, "flowerconfig", "celery", "flower", "orchestrator", "tornado", "prometheus_client"
    )
    redis = [str(server_program()), "--port", str(at), "--requirepass", secret, "--dir", str(tmp_path), "--save", ""]
    with (
        process(*redis, log=tmp_path / "server.log"),
        process(
            *program, "--flower", "--port", str(port), log=tmp_path / "flower.log", cwd=here, **environment
        ) as flower,
        process(*program, "--worker", "--name", "shown", "--pool", "solo", log=tmp_path / "worker.log", **environment),
    ):
        log = tmp_path / "flower.log"
        until(lambda: listening(port) or flower.poll() is not None, 30)
        assert listening(port) == {"0100007F"}, f"on the loopback alone. {log.read_text()}"
        base = f"http://127.0.0.1:{port}"
        workers = f"{base}/api/workers?refresh=1"
        until(lambda: "shown@" in get(workers, auth)[1], 30)
        pages = [
            "/",
            "/workers",
            "/tasks",
            "/broker",
            "/api/workers",
            "/api/tasks",
            "/api/queues/length",
            "/api/task/types",
            "/metrics",
            "/healthcheck",
        ]
        node = f"shown@{socket.gethostname()}"
        pages.append(f"/worker/{node}")
        for page in pages:
            status, text = get(base + page)
            assert status == 401, f"{page} answers a stranger"
            assert get(base + page, "me:wrong")[0] == 401
            assert get(base + page, "mé:flöwer")[0] == 401
            status, text = get(base + page, auth)
            assert status == 200, f"{page}: {status} {text[:300]}"
            assert secret not in text, f"{page} holds the broker's password"
            assert "flower-geheim" not in text
        for page in ("/nowhere", "/login", "/logout", "/api/nowhere", "/task/x", "/tasks/datatable"):
            status, text = get(base + page)
            assert status == 401, f"{page} answers a stranger"
            assert "Traceback" not in text
        for action in (f"worker/shutdown/{node}", "task/send-task/x", "task/revoke/x"):
            assert get(f"{base}/api/{action}", body=b"{}")[0] == 401
        assert not (here / "ran").exists(), "a file of the current folder was run"
        command = Path(f"/proc/{flower.pid}/cmdline").read_bytes()
        assert b"geheim" not in command
        assert b"flower" in command
        assert secret not in log.read_text()
        assert secret not in (tmp_path / "worker.log").read_text()
        flower.send_signal(signal.SIGTERM)
        flower.wait(20)
