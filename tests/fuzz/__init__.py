"""Seeded fuzzers, one file a kind of target: `make fuzz`, or `python -m tests.fuzz`.

A target is a module with

    prepare(folder)            makes in a folder, once a batch, the good files that cases are made of
    case(chance, folder)       makes the next case of a seeded chance, as bytes and the suffix of their file
    attempt(path, folder)      what a case is done to, in a process of its own. It returns where all is well, an error
                               of ours included; whatever it raises is a failure

and perhaps `MAX_BYTES` and `LONGEST_S`, what a case may take.
"""
