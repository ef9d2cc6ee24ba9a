"""The broker: connections, what its queues hold, checks before Celery sees a message, and a server of our own."""
