"""A system's promise, read from its ODCS contract: fields, keys, checks, privacy, freshness, partitions.

Belongs here: the model, reading, linting, compatibility, and what can be said of a contract without touching data.
Does not belong here: Delta, Kafka, DuckDB, OpenSearch or Dagster. This package imports nothing else of ours.
"""
