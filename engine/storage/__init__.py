"""Objects in storage: inputs read by ranges, and outputs completed one by one (extra `storage`).

`urls` says which inputs and outputs are objects and loads nothing else; `stores` opens one object or a prefix of them,
through obstore, and turns its errors into sentences; `blocks` keeps a bounded part of an object and fetches ahead of
whoever reads it; `outputs` sends the files of a run to a prefix, `shared_output` those of a job, whose workers share
it; `results` is a copy of finished ones for commands that read a folder; `lock` keeps runs and jobs apart, `written`
says what is theirs there. `spooled` tells paths of the folder on disk as URLs. A run over files on disk loads `urls`
alone.
"""

__all__ = ["blocks", "lock", "outputs", "results", "shared_output", "spooled", "stores", "urls", "written"]
