"""Where the time of a run goes: measured by each thread, added up, and turned into a verdict."""

__all__ = ["bottleneck", "metrics", "thread_usage"]
