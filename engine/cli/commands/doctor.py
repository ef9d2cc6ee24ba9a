"""`yolo-engine doctor`."""

from __future__ import annotations

from engine.cli.console import screen
from engine.cli.doctor import examine, print_findings
from engine.cli.statuses import FAILED


def doctor() -> int:
    """Print what is installed and working here."""
    findings = examine()
    print_findings(screen(), findings)
    return FAILED if any(finding.state == "broken" for finding in findings) else 0
