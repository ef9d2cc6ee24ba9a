"""The command line `yolo-server` (`server_cli`), what it runs (`serve`), and what a worker does.

`tasks` are Celery's; they are thin and decide when a message is acknowledged or returned. `steps` does their work, as
plain functions, and `supervise` the long step: it leases videos, has an engine process work on them, and checks for a
cancellation, a stop and a stall ten times per second. `keeper` is a thread of the worker's parent process: it renews
messages, writes the heartbeat, lets `requeue` search for lost messages, and restarts a worker that has gone deaf.
`alive` has the tasks' signs of life: messages are renewed only while a task shows some. `sweep` makes jobs of watched
folders.

A step that can't continue now acknowledges its message and ends, so that waiting occupies no slot; the directory knows
what is left, and `requeue` sends the step when it can continue. Tasks learn of a stop from a file, because they run in
processes that Celery owns.
"""
