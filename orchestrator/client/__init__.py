"""The command line `yolo-submit`: submits jobs, follows, lists and cancels them, with a broker or without."""
