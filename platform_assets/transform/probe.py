"""Whether the engine takes the SQL that a contract compiles to, asked without any record.

Belongs here: asking. Does not: the SQL (`select.py`, `excerpt.py`, `hashing.py`), or running it on data (`transformer.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from platform_assets.contracts.arrow import BRONZE_SCHEMA, silver_schema
from platform_assets.contracts.model import Table
from platform_assets.core.errors import one_line
from platform_assets.transform.engine import prepare
from platform_assets.transform.expressions import computed_mistakes, rule_mistakes
from platform_assets.transform.hashing import row_hash_select
from platform_assets.transform.select import compile_excerpt, compile_select


def sql_mistakes(table: Table) -> Iterator[tuple[str, str]]:
    """(place below the table, mistake in one line) of whatever the engine cannot run of the table's SQL.

    Each wrong rule and computed column is a mistake of its own; only when there is none, the whole SQL is asked about.
    """
    with duckdb.connect(config={"threads": 1, "memory_limit": "256MB", "temp_directory": ""}) as con:
        prepare(con)
        wrong = [*computed_mistakes(con, table), *rule_mistakes(con, table)]
        yield from wrong
        if not wrong and (said := _compiled(con, table)) is not None:
            yield "", said


def _compiled(con: duckdb.DuckDBPyConnection, table: Table) -> str | None:
    silver = silver_schema(table)
    stored = silver.remove(silver.get_field_index("_hash")).empty_table()
    try:
        con.register("bronze", BRONZE_SCHEMA.empty_table())
        con.register("silver", stored)
        for query in (compile_select(table), compile_excerpt(table), row_hash_select(table)):
            con.sql(query).to_arrow_table()
    except duckdb.Error as error:
        return f"the table's SQL does not compile: {one_line(str(error).split(chr(10) * 2)[0])}"
    except (ValueError, KeyError, TypeError) as error:
        return f"the table cannot be compiled to SQL: {one_line(error)}"
    return None
