"""The worker: one system's topics carried to bronze, silver, quarantine and search. The one place where the packages meet.

Belongs here: the order of commits, fencing, deduplication state, hand-over, rebuild. Does not belong here: how a file is
written (lake), a batch is read (stream), a row is evaluated (transform) or a document is sent (search); nor Dagster (defs).
"""
