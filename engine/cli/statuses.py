"""The exit statuses of `yolo-engine`, beside 0: every video is done."""

FAILED, USAGE, INTERRUPTED = 1, 2, 130
