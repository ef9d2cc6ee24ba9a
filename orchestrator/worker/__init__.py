"""The command line `yolo-server` (`server_cli`), what it runs (`serve`), and what a worker does.

`tasks` are Celery's; they are thin and say when a message is answered or given back. `steps` has what they do, as plain
functions, and `supervise` the long one: it leases videos, has an engine process work on them, and looks for a cancel, a
stop and a stall ten times a second. `keeper` is a thread of the worker's parent: it renews messages, writes the
heartbeat, has `requeue` look for lost ones, and restarts a worker that has gone deaf. `alive` has the tasks' signs of
life: messages are renewed only while a task gives some. `sweep` makes jobs of watched folders.

A step that can't go on now answers its message and ends, so that waiting takes no slot; the directory knows what is
left, and `requeue` sends it when it can go on. A stop is told to the tasks by a file, for they are in processes that
Celery owns.
"""
