"""Delta tables: exactly-once append, replace a partition, read by statistics, maintain.

Belongs here: files, commits, transactions, compaction, retention, for any schema. Does not belong here: what a row means
(contracts, transform), where it came from (stream) or where it goes next (search).
"""
