"""Files as records: what a file holds, cutting it into records, following one that grows.

Belongs here: bytes of files and pipes. Does not belong here: where the records go.
"""
