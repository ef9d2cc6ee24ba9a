"""Where the time of a run goes: measured by each thread, added up, and turned into a verdict.

`metrics` divides each thread's time, `thread_usage` adds it up, `cores` asks Linux what else is using the CPU,
`ceilings` computes what each kind of thread and the cores can do at most, `bottleneck` draws the verdict. Time is
divided, not sampled: a thread reads two clocks whenever it moves from one stage or wait to the next, about 14 times per
frame at under a microsecond each, so it is always on.
"""

__all__ = ["bottleneck", "metrics", "sentences", "thread_usage"]
