"""The broker: connections, the contents of its queues, checks before Celery sees a message, and an embedded server.

`resolve` (which broker), `connection` and `preflight` (does it serve us, known within 5 s), `publish` (a job's next
step), `transport` and `inbound` (parse each message strictly and rebuild it from the parts that passed), `keys` (our
names in the broker), `heartbeats`, `queues`, `health` and `doctor` (inspection), `refusals`, `local_server` (the
embedded Valkey), `reaper` and `exec_with_parent` (leave nothing behind). Nothing about a job is stored only here: a
broker may lose everything.
"""
