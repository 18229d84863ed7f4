"""`assay search`: events by what they say, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from opensearchpy import OpenSearch
    from rich.console import Console

    from platform_assets.contracts.model import Contract, Table
    from platform_assets.core.settings import Settings
    from platform_assets.index.clauses import Masker

Row = dict[str, Any]


@click.command(
    cls=Command,
    examples=(
        'assay search logs "level:ERROR status:500" --last 24h',
        "assay search logs '(level:FATAL OR status:>=500) java.io.IOException'",
        "assay search logs 'service:payments latency_ms:>1000 -level:DEBUG \"timed out\"' --last 15m",
        "assay search logs status:404 --table access --from 2015-05-17 --to 2015-05-18 --json",
        "assay search logs 'status:>=500' --last 24h --as-of 2015-05-20",
        "assay search logs level:ERROR --last 24h --limit 1000 --csv > errors.csv",
    ),
)
@click.argument("system")
@click.argument("query", default="")
@click.option("--table", "name", help="Only this table.  [default: every table that has the fields]")
@click.option("--last", metavar="TIME", help="Events of the last 90s, 15m, 24h, 7d or 2w.")
@click.option("--from", "since", metavar="TIME", help="Events from this time on: a day or ISO 8601, in UTC.")
@click.option("--to", "until", metavar="TIME", help="Events before this time.")
@click.option("--as-of", metavar="TIME", help="The end of the period of --last; for a day, its end.  [default: now]")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, metavar="N", help="Maximum number of rows."
)
@click.option("--cursor", help="Continue after an earlier page of the same search (needs --table).")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV with every field of the tables.")
@pass_session
@click.pass_context
def search(
    ctx: click.Context,
    session: Session,
    system: str,
    query: str,
    name: str | None,
    last: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Find events, newest first.

    QUERY consists of words, "phrases" and field:value terms, all of which must match; a leading - or NOT negates, OR
    and parentheses combine. A value may be a list (level:ERROR,FATAL or level:(ERROR FATAL)), a comparison
    (status:>=500), a range (latency_ms:100..250), a pattern (host:web-*), or * for any value. Put field names with special
    characters into quotation marks: attributes."x request id":7. Personal data is stored as keyed hashes; where the key
    is available, you can search for the clear value.
    """
    if as_json and as_csv:
        raise click.UsageError("either --json or --csv", ctx)
    if cursor and not name:
        raise click.UsageError("--cursor needs --table", ctx)
    from platform_assets.cli import render
    from platform_assets.index.client import connect
    from platform_assets.index.errors import QueryError

    contract = session.contract(system)
    asked = _Question(query, *_span(last, since, until, as_of), limit, cursor)
    settings = session.settings
    client = connect(settings.opensearch_url, settings.opensearch_auth("reader"), settings.opensearch_ca)
    try:
        found = _find(client, settings, contract, session.table_of(contract, name) if name else None, asked)
    except QueryError as error:
        if error.position is not None:
            click.echo(render.pointed(query, error.position), err=True)
        raise
    finally:
        client.close()
    if as_csv:
        _print_csv(found)
    elif as_json:
        render.emit(
            {
                "tables": [t.qualified_name for t in found.tables],
                "hits": found.rows,
                "cursor": found.cursor,
                "more": found.more,
            }
        )
    else:
        _show(render.console(), found)


def _print_csv(found: _Found) -> None:
    """The rows, and on standard error how to go on."""
    from platform_assets.contracts.model import FieldType
    from platform_assets.core.serialization import csv_text

    names = ["id", "_table"]
    for table in found.tables:
        names += [field.name for field in table.fields] + ([table.attributes] if table.attributes else [])
    decimals = {f.name for table in found.tables for f in table.fields if f.type is FieldType.DECIMAL}
    click.echo(csv_text(list(dict.fromkeys(names)), found.rows, decimals), nl=False)
    if found.cursor:
        click.echo(f"more: --cursor {found.cursor}", err=True)
    elif found.more:
        click.echo("there are more: name a --table to page through them, or narrow the search", err=True)


def _span(
    last: str | None, since: str | None, until: str | None, as_of: str | None
) -> tuple[datetime | None, datetime | None]:
    """(since, until) of the options; None is no bound. Raises QueryError."""
    from platform_assets.index.errors import QueryError
    from platform_assets.index.times import parse_as_of, parse_duration, parse_time

    if last and since:
        raise QueryError("a search has either --last or --from, not both")
    end = parse_time(until) if until else parse_as_of(as_of) if as_of else None
    if last:
        return parse_as_of(as_of or "now") - parse_duration(last), end
    return parse_time(since) if since else None, end


@dataclass(frozen=True)
class _Question:
    text: str
    since: datetime | None
    until: datetime | None
    limit: int
    cursor: str | None


@dataclass
class _Found:
    tables: list[Table] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    cursor: str | None = None
    more: bool = False


def _find(client: OpenSearch, settings: Settings, contract: Contract, only: Table | None, asked: _Question) -> _Found:
    """Rows of one table, or of all that have the fields of the query, merged by event time."""
    from platform_assets.index.errors import QueryError
    from platform_assets.index.query import search as ask

    found = _Found()
    refused: QueryError | None = None
    for table in (only,) if only else contract.tables:
        try:
            page = ask(
                client,
                table,
                asked.text,
                since=asked.since,
                until=asked.until,
                limit=asked.limit,
                cursor=asked.cursor,
                mask=_hashes(settings, table),
            )
        except QueryError as error:
            refused = refused or error
            continue
        found.tables.append(table)
        found.rows += [{"_table": table.qualified_name, **row} for row in page.rows]
        found.cursor = page.cursor
        found.more = found.more or page.cursor is not None
    if refused is not None and not found.tables:
        raise refused
    if len(found.tables) > 1:
        times = {table.qualified_name: table.event_time for table in found.tables}
        found.rows.sort(key=lambda row: str(row[times[row["_table"]]]), reverse=True)
        found.more = found.more or len(found.rows) > asked.limit
        del found.rows[asked.limit :]
        found.cursor = None
    return found


def _hashes(settings: Settings, table: Table) -> Masker | None:
    """Clear values to their hashes, in every masked field under every key at hand; None where there is no key."""
    if "ASSAY_HMAC_KEY" not in settings.values:
        return None
    from platform_assets.contracts.model import Mask
    from platform_assets.transform.masking import Masker

    masker = Masker(settings.hmac_keys(), settings.hmac_key_id)
    fields = [field.name for field in table.fields if field.mask is Mask.HMAC]
    # A hash made for one field is never found in another: the field's name is part of it.
    return lambda value: [masker.mask(value, field, key) for field in fields for key in masker.key_ids]


def _show(out: Console, found: _Found) -> None:
    from rich.text import Text

    from platform_assets.cli import render

    if not found.rows:
        out.print("nothing found")
        return
    by_name = {table.qualified_name: table for table in found.tables}
    single = found.tables[0] if len(found.tables) == 1 else None
    if single:
        names = single.display or tuple(f.name for f in single.fields)
        rows = [[row["id"], *(render.one_line(row.get(name), 200) for name in names)] for row in found.rows]
        out.print(render.grid(("id", *names), rows))
    else:
        for row in found.rows:
            table = by_name[row["_table"]]
            names = tuple(name for name in table.display if name != table.event_time)
            said = "  ".join(render.one_line(row[name], 200) for name in names if row.get(name) is not None)
            line = Text.assemble(
                str(row[table.event_time]), "  ", (row["_table"], "cyan"), "  ", said, "  ", (row["id"], "dim")
            )
            out.print(line, soft_wrap=not out.is_terminal)
    if found.cursor:
        out.print(f"more: --cursor {found.cursor}", soft_wrap=True)
    elif found.more:
        out.print("there are more: name a --table to page through them, or narrow the search")
