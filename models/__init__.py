"""What a model is, where it comes from, and how its output is laid out.

    registry    the zoo: names, files, downloads
    resolve     from a name or a path to a manifest and a file
    manifest    what a model is, and what it wants to be fed
    errors      everything that can go wrong

Importing the package loads none of them: its leaves are used by what must start at once.
"""

import os

# From 1.29 on, ONNX Runtime reports every session to its makers unless this is set before it is loaded. Whoever is
# recorded in these videos has not agreed to that; a user who has agreed sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
