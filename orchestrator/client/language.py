"""The language for messages about a job's end on a terminal: English, or Spanish in a Spanish locale."""

from __future__ import annotations

import os
from collections.abc import Mapping

from orchestrator.job.outcomes import ENGLISH, SPANISH, Language


def language_of(environ: Mapping[str, str] = os.environ) -> Language:
    """Return the language by the first of LC_ALL, LC_MESSAGES and LANG that is set."""
    locale = next(filter(None, map(environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return SPANISH if locale.split("_")[0].split(".")[0].lower() == "es" else ENGLISH
