"""The engine's own process: the only one that opens videos and models, and the line to its worker.

`main` is the process and `handle` its worker's side; `messages` is what they say to each other, `ipc` how it travels:
JSON objects over two pipes. `probe`, `work`, `salvage` and `follow_up` are what a process may be told to do. A fault in
a decoder costs one attempt at a video, a long C call can't delay a stop, and memory goes back to the system. The
process ends with its worker (PR_SET_PDEATHSIG) and costs one model load per step.
"""
