"""A job's directory, the durable truth: records, leases, claims, results, and the paths that a job may touch.

`jobdir` lists the files of `<output>/.yolo-jobs/<id>/`; `records` checks each where it is read, as a stranger's. A file
is there whole or not at all: it is written under another name, fsynced, then renamed where it may change, or linked
where only one may make it. So "who was first" needs no lock: of two who link, one wins.

A lease (`leases`) is the file `videos/0007.2.json`: attempt 2 at video 7. Its owner touches it every `lease_s` / 6; it
has run out after `lease_s` without a touch, or at once when it names a process of this machine that is gone. Its age is
read on the file system's clock. The next attempt is `0007.3.json`, which only one can make, and whose existence is the
fence: the engine looks for it when it begins, before each checkpoint and before it commits (engine.resume decides who
wins). What can't be read is held, not free. `claims` counts attempts that got no further and gives a video up after
`max_attempts`. `turns` lets one job at a time write to a folder, `outcomes` makes results, `registry` finds a job by
its id.
"""
