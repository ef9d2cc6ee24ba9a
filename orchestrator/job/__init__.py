"""A job's directory, the authoritative state: records, leases, claims, results, and the paths that a job may use.

`jobdir` lists the files of `<output>/.yolo-jobs/<id>/`; `records` validates each on reading, as untrusted. `files` says
what a file is, whoever keeps it: complete or absent, and created by one process alone. So "who was first" needs no
lock. On disk (`disk_file`) it is written under another name and fsynced, then renamed if it may change, or linked if
only one process may create it: of two that link, one wins. In object storage (`stored_file`) a write has a condition
instead. There the workers of a job share no folder, and each machine works in one of its own (`scratch`).

A lease (`leases`) is the file `videos/0007.2.json`: attempt 2 at video 7. Its owner touches it every `lease_s` / 6; it
expires after `lease_s` without a touch, or at once if it names a process of this machine that is gone. Its age is
measured by the clock of the file system or the server. The next attempt is `0007.3.json`, which only one process can
create, and whose existence is the fence: the engine checks for it when it starts, before each checkpoint and before it
commits (engine.resume decides who wins). A lease that can't be read counts as held, not free. `claims` counts attempts
without progress and gives up on a video after `max_attempts`. `turns` lets one job at a time write to a folder,
`outcomes` makes results, `registry` finds a job by its id.
"""
