"""Backup and restore: a consistent copy of the lake and of what lies beside it, taken while workers run.

Belongs here: what is copied, in which order, how it is checked, and how it comes back. Does not: what Delta says of a folder
(`tables/archive.py`), or rebuilding an index (`ingest/reindex.py`). Kafka and OpenSearch are not copied: the broker keeps its own
retention, the index is made from silver.
"""
