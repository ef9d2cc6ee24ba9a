"""Workers of jobs whose directory is in storage, each on a machine of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from orchestrator.errors import EngineFailed
from orchestrator.job.jobdir import Job
from orchestrator.job.records import PipelineResult
from orchestrator.settings import Settings
from orchestrator.worker import steps
from tests.assets import ROOT

LEASE_S = 30.0
_WORKER = """
import sys
from orchestrator.settings import Settings
from orchestrator.worker import steps
settings = Settings(state_dir=sys.argv[2], lease_s=float(sys.argv[3]))
steps.process(steps.job_at(sys.argv[1], settings), sys.argv[4], steps.Context(sys.argv[4], settings))
"""


def working(job: Job, settings: Settings, key: str, **variables: str) -> subprocess.Popen[bytes]:
    """A process that does a step on this machine; `variables` are those of its environment alone."""
    arguments = [str(job.folder), str(settings.state_dir), str(settings.lease_s), key]
    return subprocess.Popen([sys.executable, "-c", _WORKER, *arguments], cwd=ROOT, env={**os.environ, **variables})


def go_on(job: Job, settings: Settings, node: str = "worker-1", key: str = "process-1") -> PipelineResult:
    """Do all that is left of a job on this machine, as one worker; return its result."""
    job, context = steps.job_at(str(job.folder), settings), steps.Context(node, settings)
    steps.start(job, context)
    with contextlib.suppress(EngineFailed):
        steps.process(job, key, context)
    return steps.end(job, context)
