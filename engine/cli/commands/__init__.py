"""The actions of the `yolo-engine` commands, one file per command or per few related ones.

Their arguments and options are declared in engine.cli, which imports nothing heavy; a file here is loaded when its
command runs.
"""

__all__ = [
    "analyze",
    "audit",
    "build_trt",
    "clips",
    "doctor",
    "evaluate",
    "exports",
    "find",
    "models",
    "plan",
    "quantize",
    "report",
    "retrack",
    "run",
    "scene",
    "verify",
]
