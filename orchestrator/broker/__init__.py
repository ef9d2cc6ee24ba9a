"""The broker: connections, what its queues hold, checks before Celery sees a message, and a server of our own.

`resolve` (which broker), `connection` and `preflight` (does it serve us, known within 5 s), `publish` (a job's next
step), `transport` and `inbound` (each message is read in one strict form and rebuilt from what passed), `keys` (what we
keep there), `heartbeats`, `queues`, `health` and `doctor` (looking), `refusals`, `local_server` (the embedded Valkey),
`reaper` and `exec_with_parent` (nothing is left behind). No job's truth is kept here: a broker may lose everything.
"""
