"""The command line `yolo-submit`: submits jobs, follows, lists and cancels them, with a broker or without.

`submission` checks a request and makes the job, `commands_*` are one per command, `snapshot` reads a job's directory,
`views` draws it, `monitor` follows it, `embedded` brings a broker and a worker along. A client asks the broker once
before anything else, because Celery's own clients hang where a broker does.
"""
