"""How a DuckDB connection must be set up for the SQL of a contract.

Belongs here: settings and functions that the compiled SQL relies on. Does not belong here: the SQL, limits of threads and memory.
"""

from __future__ import annotations

import duckdb

from platform_assets.transform import members, scrub


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the connection run compiled SQL: in UTC, without access to files, with the functions that the SQL calls."""
    connection.execute("SET TimeZone = 'UTC'")
    # From six items on, an IN would become a join, which does not keep the order of rows.
    connection.execute("SET disabled_optimizers = 'in_clause'")
    connection.execute("SET enable_external_access = false")
    scrub.register(connection)
    members.register(connection)
