"""Every error the job system raises.

JobError                    (exit status 1)
├── SettingsError           the settings of the job system are wrong               (exit status 2)
│   └── BrokerUrlError      the broker's URL can't be used as it is written
├── RequestError            the request is wrong: a folder, a key, an option       (exit status 2)
│   ├── PathRefused         a path is outside the roots, or is not a folder or file
│   └── UnknownJob          no job of that id is known here
├── BrokerUnreachable       the broker or the result store does not answer properly (exit status 3)
├── EmbeddedBrokerError     the embedded broker of this machine does not run
│   └── EmbeddedBrokerTaken another process already runs it
├── EngineFailed            the engine can't run at all: its model, its device, its configuration
├── FolderTaken             another job writes to the same folder: this one waits for its turn
├── QuotaFull               its queue or its user has no room for another step: it waits
└── Duplicate               another process is already running this step
"""

from __future__ import annotations

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
"""Exit statuses of the command lines."""


class JobError(Exception):
    """Root of all errors of the job system."""


class SettingsError(JobError, ValueError):
    """Names the setting, the rule and the actual value."""


class BrokerUrlError(SettingsError):
    """Names the rule that the URL of a broker or result store breaks, never the password in it."""


class RequestError(JobError, ValueError):
    """Names the request and the remedy."""


class PathRefused(RequestError):
    """A path that a job may not use; names the rule and the remedy."""


class UnknownJob(RequestError):
    """No job with that id is known here."""


class BrokerUnreachable(JobError):
    """Names the broker (without its password), what happened and the command that repairs it."""


class EmbeddedBrokerError(JobError):
    """The server does not start, keep running or stop; contains the last line of its log."""


class EmbeddedBrokerTaken(EmbeddedBrokerError):
    """Names the process that runs it, and the URL under which it can be used."""


class EngineFailed(JobError):
    """The engine can't run at all; no video is to blame."""


class FolderTaken(JobError):
    """Another job writes to the same folder. The step is marked as waiting, and sent again when its turn has come."""


class QuotaFull(JobError):
    """As many steps of this queue or user are at work as may be. This one is marked as waiting, and sent again when
    there is room."""


class Duplicate(JobError):
    """A message was delivered twice, and the first delivery is still being processed."""


class StorageAway(OSError):
    """An object of a job's directory can't be read or written. `strerror` names cause and remedy, `filename` the
    URL."""


def reason_of(error: Exception) -> str:
    """Return the reason for an error, without the path that an OSError repeats; the surrounding message names it."""
    if isinstance(error, StorageAway):  # a sentence of ours, with names of variables
        return str(error.strerror)
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
