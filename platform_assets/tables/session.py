"""The DuckDB session with which tables are read and transformed."""

from __future__ import annotations

import duckdb


def session(threads: int = 2, memory_limit: str = "1GB") -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB session in UTC that never spills rows to disk."""
    con = duckdb.connect(config={"threads": threads, "memory_limit": memory_limit, "temp_directory": ""})
    con.execute("SET TimeZone = 'UTC'")
    return con
