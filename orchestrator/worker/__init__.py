"""The command line `yolo-server` and what a worker does: tasks, steps, the keeper, requeued messages, sweeps."""
