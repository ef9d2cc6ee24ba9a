"""The engine's own process: the only one that opens videos and models, and the line to its worker.

`main` is the process, `handle` its worker's side, `ipc` the line between them: JSON objects over two pipes. A fault in
a decoder costs one attempt at a video, a long C call can't delay a stop, and memory goes back to the system. It ends
with its worker (PR_SET_PDEATHSIG) and costs one model load per step.
"""
