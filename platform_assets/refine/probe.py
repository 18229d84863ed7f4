"""Whether the engine takes the SQL that a contract compiles to, asked without any record.

Belongs here: asking. Does not: the SQL (`select.py`, `excerpt.py`, `hashing.py`), or running it on data (`refinery.py`).
"""

from __future__ import annotations

import duckdb

from platform_assets.contracts.arrow import BRONZE_SCHEMA, silver_schema
from platform_assets.contracts.model import Table
from platform_assets.errors import one_line
from platform_assets.refine.engine import prepare
from platform_assets.refine.expressions import mistake_of
from platform_assets.refine.hashing import row_hash_select
from platform_assets.refine.select import compile_excerpt, compile_select


def refused(table: Table) -> str | None:
    """What is wrong with the table's SQL, in one line; None when it can be run."""
    silver = silver_schema(table)
    stored = silver.remove(silver.get_field_index("_hash")).empty_table()
    try:
        with duckdb.connect(config={"threads": 1, "memory_limit": "256MB", "temp_directory": ""}) as con:
            prepare(con)
            wrong = [(rule.name, mistake_of(con, table, rule.expression)) for rule in table.rules]
            if said := "; ".join(f"the rule {name}: {mistake}" for name, mistake in wrong if mistake):
                return said
            con.register("bronze", BRONZE_SCHEMA.empty_table())
            con.register("silver", stored)
            for query in (compile_select(table), compile_excerpt(table), row_hash_select(table)):
                con.sql(query).to_arrow_table()
    except duckdb.Error as error:
        return f"the table's SQL does not compile: {one_line(str(error).split(chr(10) * 2)[0])}"
    except (ValueError, KeyError, TypeError) as error:
        return f"the table cannot be compiled to SQL: {one_line(error)}"
    return None
