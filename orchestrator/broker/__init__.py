"""The broker: connections, what its queues hold, checks before Celery sees a message, and a server of our own.

`view` is what is asked of a broker, whichever it is; `opened` chooses: `redis_broker` (keys and `queues`), or
`amqp_broker` (RabbitMQ), which keeps on the `board` what is more than a message and reads from the jobs' directories
what waits (`sent`). `amqp_transport`, `amqp_preflight`, `folder_results` and `folder_backend` are RabbitMQ's, too.

`resolve` (which broker), `connection` and `preflight` (does it serve us, known within 5 s), `publish` (a job's next
step), `transport` and `inbound` (each message is read in one strict form and rebuilt from what passed), `keys` (what we
keep there), `heartbeats`, `queues`, `health` and `doctor` (looking), `refusals`, `local_server` (the embedded Valkey),
`reaper` and `exec_with_parent` (nothing is left behind). No job's truth is kept here: a broker may lose everything.
"""
