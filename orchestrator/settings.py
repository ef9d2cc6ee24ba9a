"""Settings of the job system: one module for worker, client, Beat and Flower.

Every process that reads from the broker enforces its own visibility timeout, so a single process with different
settings would requeue running tasks. That is why everything here is built once, in `celery_settings`, and why the
launchers start nothing without it.

Values come from the environment, then from a TOML file named by `YOLO_SETTINGS`:

    CELERY_BROKER_URL, CELERY_RESULT_BACKEND   redis://, rediss://, redis+socket://, amqp[s]:// or sqs:// URLs
    YOLO_BOARD                                 the folder that all machines of a RabbitMQ share
    YOLO_VIDEO_ROOTS, YOLO_OUTPUT_ROOTS        folders and s3:// URLs, separated by ":", that jobs may read from
                                               and write to
    YOLO_JOBS_DIR                              the URL below which jobs into object storage keep their directories
    YOLO_STATE_DIR                             where this machine remembers its jobs and its embedded broker
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigError
from orchestrator.errors import SettingsError, reason_of

DEFAULT_URL = "redis://localhost:6379/0"

QUEUE, GPU_QUEUE, LOG_QUEUE = "yolo", "yolo-gpu", "yolo-log"
PLAIN_QUEUE = "celery"
"""The queue to which a program's `Celery(...).send_task(...)` sends if it names none; workers serve it too."""


def worker_command(queue: str) -> str:
    """Return the command of a worker that serves a queue. It also serves the log queue, or a job's other steps would
    wait."""
    return "yolo-server --worker" + ("" if queue in (QUEUE, LOG_QUEUE) else f" --queues {queue},{LOG_QUEUE}")


_FOLDER = "filesystem://"
_URL = re.compile(r"(s3|gs|az):/")
_ROOTS = re.compile(rf"(?<!s3)(?<!gs)(?<!az){os.pathsep}|{os.pathsep}(?!//)")  # between folders, and not in a URL


def broker_folder(url: str) -> Path | None:
    """Return the folder that is the broker, None if the URL names a server."""
    return Path(unquote(url.removeprefix(_FOLDER))) if url.startswith(_FOLDER) else None


_DATABASE = "db+"


def keeps_messages_alone(url: str) -> bool:
    """Return whether a broker has no place for what is known beside its messages."""
    return is_amqp(url) or is_sqs(url) or broker_folder(url) is not None


def is_amqp(url: str) -> bool:
    """Return whether a URL names a RabbitMQ."""
    return url.partition("://")[0] in ("amqp", "amqps")


def is_sqs(url: str) -> bool:
    """Return whether a URL names an Amazon SQS."""
    return url.startswith("sqs://")


def is_database(url: str) -> bool:
    """Return whether a URL names a database, for results."""
    return url.startswith(_DATABASE)


def database_of(url: str) -> str:
    """Return SQLAlchemy's URL of the database that a URL names."""
    return url.removeprefix(_DATABASE)


Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


class Watch(BaseModel):
    """A folder that Beat sweeps: new and complete videos become a job, each video once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    """The folder to sweep."""
    output: Path
    """The output folder of its jobs."""
    every_minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] = 5.0
    """Minutes between two sweeps."""
    quiet_s: Annotated[float, Field(ge=0)] = 60.0
    """A file that has not changed for this long is complete."""
    config: dict[str, object] = {}
    """Keys of the engine's configuration for its jobs; they override the settings' `config`."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Number of workers that share each of its jobs."""


class Settings(BaseModel):
    """All settings of the job system. Built by `settings()`, which reads the environment and the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    broker_url: str = DEFAULT_URL
    """`redis://`, `rediss://` (TLS) or `redis+socket://`; `amqp://` or `amqps://` for RabbitMQ; `sqs://`;
    `filesystem:///FOLDER` for a shared folder. If it is not set, an embedded broker of this machine is preferred."""
    result_backend: str | None = None
    """URL of the result store: a Redis, a folder (`file:///FOLDER`), or a database (`db+sqlite:////FILE`,
    `db+postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`; extra `database`). None: the broker; with RabbitMQ, SQS or a
    folder as the broker, the board."""
    board: Path | None = None
    """With RabbitMQ: the folder, shared by all machines, of what workers say of themselves. None: `.yolo-board` in the
    first output root; without roots, in `state_dir`; if the broker is a folder, in that folder."""
    video_roots: tuple[Path, ...] = ()
    """Folders, and URLs of objects, that jobs may read from. Empty: any, but only with a broker on this machine."""
    output_roots: tuple[Path, ...] = ()
    """Folders, and URLs of objects, that jobs may write to. Empty: any, but only with a broker on this machine. The
    first folder also has the records of jobs that write to URLs, unless `jobs_dir` has them."""
    jobs_dir: Annotated[str, Field(pattern=r"^(s3|gs|az)://[^/\s]+(/.*)?$")] | None = None
    """URL below which jobs that write to URLs keep their directories, `s3://bucket/jobs`, so that workers share no
    folder. None: in the first folder of the output roots; without roots, in `state_dir`."""
    state_dir: Path = Path("~/.local/state/yolo-engine")
    """Where this machine remembers its jobs and its embedded broker."""

    queues: tuple[str, ...] = ()
    """Your own queues, besides yolo, yolo-gpu, yolo-log and celery."""
    watch: tuple[Watch, ...] = ()
    """Folders that Beat sweeps."""
    config: dict[str, object] = {}
    """Default keys of the engine's configuration for every job; a job's own keys override them."""

    on_event: tuple[str, ...] = ()
    """Receivers of events in the videos of all jobs, as they happen: a program, which gets JSON on its standard input,
    http(s):// or mqtt(s):// (docs/after.md). Only settable here: a job can't name any."""
    event_kinds: tuple[Literal["crossing", "enter", "loiter", "stay", "track"], ...] = ()
    """Kinds of events to send. Empty: those of a job's scene, or tracks if it has none."""
    event_loiter_s: Seconds | None = None
    """Seconds after which a stay is sent as loitering while it lasts, in zones without their own `loiter_s`. none: only
    zones with their own."""

    traces: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    """Collector for a trace of each job that has ended, as OTLP over HTTP: `http://HOST:4318`. none: no traces."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts in a row without progress in a video before it fails."""
    lease_s: Seconds = 30.0
    """Seconds without a sign of life from a worker after which its videos go to another one."""
    grace_s: Seconds = 20.0
    """Seconds that a stopping worker may take for its last checkpoint."""
    cancel_s: Seconds = 1.0
    """Seconds that the engine may take to finish the frames in flight when a job is cancelled."""
    quotas: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = {}
    """For queues by name, the maximum number of workers' slots that the jobs of that queue use at once, over all
    machines: `{"night": 2}`. A queue that is not named has no quota. All machines need the same quotas."""
    user_quota: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Maximum number of slots that the jobs of one user, by the name in the job's record, use at once. none: no
    quota."""
    turn_s: Seconds = 60.0
    """Seconds that a job works before it gives way to another one that has also had a turn. To a job that has not
    started yet it gives way at once."""
    stall_s: Seconds = 300.0
    """Seconds without progress after which a run is ended; it counts as an attempt."""
    visibility_timeout_s: Seconds = 600.0
    """Seconds without a sign of life from a worker after which its message is delivered again. It must exceed the
    longest broker outage that you expect, and the difference between the machines' clocks."""
    task_time_limit_s: Seconds = 7 * 86_400.0
    """Time limit of a task, a last resort if it hangs; the engine's own watchdog (stall_s) acts far earlier."""
    deaf_s: Seconds = 120.0
    """Seconds after which a worker with free slots that gets none of the waiting messages restarts itself."""

    @property
    def results_url(self) -> str:
        if self.result_backend is None and keeps_messages_alone(self.broker_url):
            return f"file://{self.board_folder / 'results'}"
        return self.result_backend or self.broker_url

    @property
    def board_folder(self) -> Path:
        """Return the folder of the board, for brokers that keep nothing but messages."""
        if self.board is not None:
            return self.board
        if (folder := broker_folder(self.broker_url)) is not None:
            return folder / "board"
        folders = [root for root in self.output_roots if not _URL.match(str(root))]
        return folders[0] / ".yolo-board" if folders else self.state_dir / "board"

    @property
    def broker_state(self) -> Path:
        """Return where the embedded broker keeps its data."""
        return self.state_dir / "broker"

    @property
    def known_queues(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((QUEUE, GPU_QUEUE, LOG_QUEUE, PLAIN_QUEUE, *self.queues)))


@cache
def settings() -> Settings:
    """Read the settings of this process from its environment and file, without contacting a broker (see
    `broker.resolve`). Raises SettingsError."""
    values = _from_file(os.environ.get("YOLO_SETTINGS"))
    for key, name in (
        ("broker_url", "CELERY_BROKER_URL"),
        ("result_backend", "CELERY_RESULT_BACKEND"),
        ("state_dir", "YOLO_STATE_DIR"),
        ("jobs_dir", "YOLO_JOBS_DIR"),
        ("board", "YOLO_BOARD"),
    ):
        if os.environ.get(name):
            values[key] = os.environ[name]
    for key, name in (("video_roots", "YOLO_VIDEO_ROOTS"), ("output_roots", "YOLO_OUTPUT_ROOTS")):
        if os.environ.get(name):
            values[key] = tuple(part for part in _ROOTS.split(os.environ[name]) if part)
    if "state_dir" not in values and os.environ.get("XDG_STATE_HOME"):
        values["state_dir"] = Path(os.environ["XDG_STATE_HOME"]) / "yolo-engine"
    try:
        read = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise SettingsError(
                f"Unknown key {key!r} in the settings. The keys are: {', '.join(Settings.model_fields)}."
            ) from None
        raise SettingsError(
            f"Setting {key}: {first['msg'][:1].lower()}{first['msg'][1:]}. Got {first['input']!r}."
        ) from None
    if (read.result_backend or "").partition("://")[0] in ("rpc", "amqp", "amqps"):
        raise SettingsError(
            "Setting result_backend: a RabbitMQ keeps a result for one answer to one program, and a job's result comes "
            "from a later message than the one that was sent. Leave it out (results go to files of the board), or name "
            "a Redis, a folder (file:///FOLDER) or a database (db+sqlite:////FILE)."
        )
    if read.config:
        from engine.config import EngineConfig

        try:
            EngineConfig(**read.config)
        except (ConfigError, TypeError) as error:
            raise SettingsError(f"Setting config: {error}") from error
    try:
        home = {
            "state_dir": read.state_dir.expanduser(),
            "board": None if read.board is None else read.board.expanduser(),
            "video_roots": tuple(root.expanduser() for root in read.video_roots),
            "output_roots": tuple(root.expanduser() for root in read.output_roots),
        }
    except RuntimeError as error:
        raise SettingsError(
            f"Setting state_dir: {read.state_dir} names a home folder, and this user has none. Set YOLO_STATE_DIR."
        ) from error
    return read.model_copy(update=home)


def _from_file(name: str | None) -> dict[str, object]:
    if not name:
        return {}
    path = Path(name).expanduser()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Settings file {path} (YOLO_SETTINGS) can't be read: {reason_of(error)}.") from error
    except ValueError as error:
        raise SettingsError(f"Settings file {path} (YOLO_SETTINGS) is not TOML: {error}.") from error


RESULTS_KEPT_S = 7 * 86_400
"""For how long a result is there for the program that asked."""

Role = Literal["worker", "client"]


def celery_settings(given: Settings, role: Role) -> dict[str, object]:
    """Return Celery's configuration. Everything that processes must agree on is the same for both roles; a client
    differs only in how long it waits for an unreachable broker."""
    visibility = {"visibility_timeout": given.visibility_timeout_s}
    amqp = is_amqp(given.broker_url)
    polled = keeps_messages_alone(given.broker_url) and not amqp  # nothing reaches all workers at once
    transport = _transport(given)
    shared: dict[str, object] = {
        "broker_url": given.broker_url,
        "result_backend": given.results_url,
        "broker_transport_options": transport,
        "result_backend_transport_options": dict(visibility),
        "visibility_timeout": given.visibility_timeout_s,
        # JSON both ways: a message can't run code.
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_default_queue": QUEUE,
        "task_queues": {name: _queue(name, amqp=amqp) for name in given.known_queues},
        "task_create_missing_queues": False,
        "task_routes": {
            "log_start_yolo": {"queue": LOG_QUEUE},
            "log_end_yolo": {"queue": LOG_QUEUE},
            "complete_pipeline": {"queue": LOG_QUEUE},
            "sweep_yolo": {"queue": LOG_QUEUE},
        },
        # A message is acknowledged when its task has ended: a worker that is killed or stopped returns it.
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # Attempts counted in the job's directory limit how often a crash is retried.
        "task_reject_on_worker_lost": False,
        "task_track_started": True,
        "result_extended": True,
        "result_expires": RESULTS_KEPT_S,
        "task_send_sent_event": not polled,
        "timezone": "UTC",
        "enable_utc": True,
    }
    if role == "client":
        return {
            **shared,
            "broker_transport_options": {
                **transport,
                **({"read_timeout": 4, "write_timeout": 4} if amqp else {}),
                **({} if amqp or polled else {"socket_connect_timeout": 3, "socket_timeout": 3}),
            },
            "broker_connection_timeout": 3,
            "broker_connection_retry": False,
            "broker_connection_max_retries": 1,
            "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
            "redis_socket_timeout": 3,
            "redis_socket_connect_timeout": 3,
            "result_backend_transport_options": {
                **visibility,
                "retry_policy": {"timeout": 4.0, "max_retries": 1, "interval_start": 0, "interval_max": 0.2},
            },
        }
    return {
        **shared,
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": not (amqp or polled),  # there the prefetch count is exact
        "worker_enable_remote_control": not polled,
        "broker_heartbeat": 30,
        # Forking a process with threads deadlocks; a spawned child starts clean.
        "worker_pool_start_method": "spawn",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": given.grace_s + 10,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": not polled,
        "task_time_limit": given.task_time_limit_s,
        "result_backend_always_retry": True,
        # An hour of work must not be lost because the broker is unreachable at its end.
        "task_publish_retry_policy": {"max_retries": 600, "interval_start": 0, "interval_step": 0.5, "interval_max": 5},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "beat_schedule": _beat_schedule(given),
        "beat_schedule_filename": str(given.state_dir / "beat-schedule"),
    }


def _transport(given: Settings) -> dict[str, object]:
    """Return the options of the way to the broker; each kind refuses or ignores those of the others."""
    if is_amqp(given.broker_url):
        return {"confirm_publish": True}  # else a publish may be dropped without a word
    if (folder := broker_folder(given.broker_url)) is not None:
        return {"folder": str(folder)}
    if is_sqs(given.broker_url):
        return {"url": given.broker_url, "visibility_timeout": given.visibility_timeout_s}
    return {
        "visibility_timeout": given.visibility_timeout_s,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "socket_keepalive": not given.broker_url.startswith(("redis+socket", "unix")),
        "health_check_interval": 25,
    }


def _queue(name: str, *, amqp: bool) -> dict[str, object]:
    """Return how a queue is declared. A RabbitMQ refuses another declaration than the first, and any program may have
    declared `celery`."""
    levels = {"queue_arguments": {"x-max-priority": 9}} if amqp and name != PLAIN_QUEUE else {}
    return {"exchange": name, "routing_key": name, **levels}


def _beat_schedule(given: Settings) -> dict[str, object]:
    """Return one sweep per watched folder. A sweep that waited for longer than a period is dropped, because the next
    one finds the same files."""
    return {
        f"sweep {index}: {watch.folder}": {
            "task": "sweep_yolo",
            "schedule": watch.every_minutes * 60,
            "args": (str(watch.folder),),
            "options": {"expires": watch.every_minutes * 60 * 0.9},
        }
        for index, watch in enumerate(given.watch)
    }
