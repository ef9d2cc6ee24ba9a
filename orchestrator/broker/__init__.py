"""The broker: connections, the contents of its queues, checks before Celery sees a message, and an embedded server.

`view` is the interface to all brokers, and `opened` chooses the implementation: `redis_broker` (keys and `queues`);
`amqp_broker` (RabbitMQ), which stores everything but messages on the `board` and reads from the jobs' directories which
messages wait (`sent`), with `amqp_transport` and `amqp_preflight`; `sqs_broker` (Amazon SQS), which does the same, with
`sqs_queues` and `sqs_transport`; or `folder_broker` (a folder), with `folder_queues` and `folder_transport`. The
transports of the last two share `polled`. Results of all but the first are files (`folder_results`, `folder_backend`);
with any, they can be in a database (`database_results`, `database_backend`).

`resolve` (which broker), `connection` and `preflight` (does it serve us, known within 5 s), `publish` (a job's next
step), `transport` and `inbound` (parse each message strictly and rebuild it from the parts that passed), `keys` (our
names in the broker), `heartbeats`, `queues`, `health` and `doctor` (inspection), `refusals`, `local_server` (the
embedded Valkey), `reaper` and `exec_with_parent` (leave nothing behind). Nothing about a job is stored only here: a
broker may lose everything.
"""
