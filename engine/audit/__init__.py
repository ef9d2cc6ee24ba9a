"""Check a finished run against its manifest: every byte, frame and row, and its boxes against the model.

In the order of the checks: `claims` reads the manifest, `files` compares sizes and hashes, `rows` checks the data files
against each other, `frames` decodes each source, infers some of its frames again and compares the boxes, and `again`
repeats whole videos. Each yields `findings`; `auditing` combines them.
"""

from engine.audit.auditing import ALL, audit
from engine.audit.findings import Audit, Finding, Kind

__all__ = ["ALL", "Audit", "Finding", "Kind", "audit"]
