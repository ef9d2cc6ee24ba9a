"""The engine's own process, the only one that opens videos and models, and its connection to the worker.

`main` is the process and `handle` its worker's side; `messages` defines what they exchange, `ipc` how it travels: JSON
objects over two pipes. `exchange` shares pieces of long videos with other engines. `probe`, `work`, `salvage` and
`follow_up` are the orders that a process can be given. A crash in a decoder costs one attempt at a video, a long C call
can't delay a stop, and memory goes back to the system. The process ends with its worker (PR_SET_PDEATHSIG) and costs
one model load per step.
"""
