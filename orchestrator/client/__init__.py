"""The command line `yolo-submit`: submit jobs, follow, list and cancel them, with a broker or without.

`submit_cli` reads the command line into `options`, and each command has its `commands_*`. `submission` checks a request
and makes the job, `asking` asks the broker, `snapshot` reads a job's directory, `views` draws it, `monitor` follows it,
`embedded` starts a broker and a worker. A client contacts the broker once before anything else, because Celery's own
clients hang when a broker does.
"""
