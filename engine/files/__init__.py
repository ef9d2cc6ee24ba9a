"""Files in places where others may write: folders held by a descriptor, inputs opened once.

Anyone who can write to an output folder can put links, FIFOs or devices there. So a path is never checked first and
used later: a folder is opened without following links and held (`folders`), and an input is opened once; that
descriptor is what is checked, decoded and hashed (`opened`); one that lies in storage is read by ranges instead
(`objects`). A folder of results appears as a whole (`whole_folder`),
and a folder whose files a list names is rewritten without leftovers (`listed`).
"""

__all__ = ["folders", "listed", "objects", "opened", "whole_folder"]
