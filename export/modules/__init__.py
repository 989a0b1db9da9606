"""The improved modules in pure torch, one file per family; every one proved against reference vectors (``check``)."""
