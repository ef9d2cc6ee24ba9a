"""Files where others may write: folders held by a descriptor, inputs opened once.

Whoever can write to an output folder may put links, FIFOs or devices there. So nothing is asked of a path and then done
with it: a folder is opened without following links and held (`folders`), and an input is opened once, and that
descriptor is what is checked, decoded and hashed (`opened`). A folder of results appears whole (`whole_folder`), and
one whose files a list names is done again without a rest of the last time (`listed`).
"""

__all__ = ["folders", "listed", "opened", "whole_folder"]
