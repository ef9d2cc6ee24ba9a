"""All keys that we read or write at the broker, except those of Celery's queues (`queues.parts_of`). The permissions of
each user are in docs/redis/users.acl."""

from __future__ import annotations

HEARTBEATS = "yolo:worker:"
"""Prefix of `<node>:<pid>`: a worker's heartbeat, in a key that expires."""
JOBS = "yolo:jobs"
"""A hash, id of a job -> its directory, for workers on other machines if its messages are lost."""
REFUSED = "yolo:refused"
"""A hash, task or sweep -> why it was refused."""
DEAD = "yolo:dead"
"""A list of dropped messages, the newest first."""
REQUEUE_LOCK = "yolo:rescue"
"""Held by the worker or monitor that currently looks for lost messages."""
WAYS = "yolo:way:"
"""Prefix of a message's id: held by the worker that makes one of its tasks give way to the message."""
PROBES = "yolo:probe:"
"""Prefix of a random name: written briefly to test whether the server accepts writes."""

# kombu's keys for the messages that workers hold, and their delivery times.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
