"""Every key that we read or write at the broker, besides those of Celery's queues (`queues.parts_of`). What each user
of the broker may do with them is in docs/redis/users.acl."""

from __future__ import annotations

HEARTBEATS = "yolo:worker:"
"""Before `<node>:<pid>`: what a worker says of itself, in a key that expires."""
JOBS = "yolo:jobs"
"""A hash, id of a job -> its directory: for workers on other machines, should its messages be lost."""
REFUSED = "yolo:refused"
"""A hash, task or sweep -> why it was refused."""
DEAD = "yolo:dead"
"""A list of the messages that were dropped, the newest first."""
REQUEUE_LOCK = "yolo:rescue"
"""Held by the one worker or monitor that looks for lost messages now."""
WAYS = "yolo:way:"
"""Before the id of a message: held by the one worker of which a task is asked to give way to it."""
PROBES = "yolo:probe:"
"""Before a random name: written for a moment, to see whether the server takes it."""

# Of kombu: the messages that workers hold, and when each was delivered.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
