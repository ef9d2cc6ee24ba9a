"""The broker: connections, what its queues hold, checks before Celery sees a message, and a server of our own.

`view` is what is asked of a broker, whichever it is; `opened` chooses: `redis_broker` (keys and `queues`), or
`amqp_broker` (RabbitMQ), which keeps on the `board` what is more than a message and reads from the jobs' directories
what waits (`sent`), with `amqp_transport` and `amqp_preflight`; or `folder_broker` (a folder), with `folder_queues` and
`folder_transport`. Results of the last two are files (`folder_results`, `folder_backend`).

`resolve` (which broker), `connection` and `preflight` (does it serve us, known within 5 s), `publish` (a job's next
step), `transport` and `inbound` (each message is read in one strict form and rebuilt from what passed), `keys` (what we
keep there), `heartbeats`, `queues`, `health` and `doctor` (looking), `refusals`, `local_server` (the embedded Valkey),
`reaper` and `exec_with_parent` (nothing is left behind). No job's truth is kept here: a broker may lose everything.
"""
