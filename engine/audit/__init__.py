"""Whether a finished run is what its manifest says: no byte, frame or row of it another, and its boxes the model's.

In the order in which it is asked: `claims` reads the manifest, `files` compares sizes and hashes, `rows` what the data
files say of each other, `frames` decodes each source, has the model look at some of its frames again and compares the
boxes, `again` does whole videos once more. Each gives `findings`; `auditing` puts them together.
"""

from engine.audit.auditing import ALL, audit
from engine.audit.findings import Audit, Finding, Kind

__all__ = ["ALL", "Audit", "Finding", "Kind", "audit"]
