"""What the commands of `yolo-engine` do, one file per command, or per few that belong together.

Their arguments and options are declared in engine.cli beside this room, which imports nothing heavy; a file here is
loaded when its command is run.
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
