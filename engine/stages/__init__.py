"""The stages, one file each, in the order of the data: source decode batch preprocess infer postprocess track."""

__all__ = ["decode", "infer", "postprocess", "track"]
