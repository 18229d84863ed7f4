"""`assay trace`: from a document back to the bytes that arrived, or from a figure to the rows that it counts (`figure.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from platform_assets.cli.session import Command, Session, json_option, pass_session

if TYPE_CHECKING:
    from rich.console import Console

    from platform_assets.contracts.model import Table
    from platform_assets.reconcile.trace import Trace

_VERDICTS = {
    "silver": "accepted: it is in silver",
    "quarantine": "refused: it is in quarantine",
    "duplicate": "a duplicate: another record with its key came first",
    "waiting": "landed, and waiting for silver",
    "no_record": "an offset that holds no record",
    "lost": "IN NONE OF THE TABLES: see `assay prove`",
}


@click.command(
    cls=Command,
    examples=(
        "assay trace logs 1a2B3c4D.0.42",
        "assay trace logs 1a2B3c4D.0.42 --reveal --json",
        "assay trace logs errors_hour --where service=payments --where status=500 --at 2026-11-21T14",
        "assay trace logs errors_day --where service=payments --at 2026-11-21 --column errors",
    ),
)
@click.argument("system")
@click.argument("what", metavar="DOCUMENT_ID|MART")
@click.option("--reveal", is_flag=True, help="Show the original bytes, which contain personal data in clear.")
@click.option("--at", metavar="TIME", help="The mart's minute, hour or day (UTC).")
@click.option("--where", metavar="COLUMN=VALUE", multiple=True, help="Rows of the mart with this value; repeatable.")
@click.option("--id", "document", help="The row of the mart whose index document has this id.")
@click.option("--column", help="Only silver rows that contribute to this column of the mart.")
@click.option(
    "--sample",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of documents to list.",
)
@json_option
@pass_session
def trace(
    session: Session,
    system: str,
    what: str,
    reveal: bool,
    at: str | None,
    where: tuple[str, ...],
    document: str | None,
    column: str | None,
    sample: int,
    as_json: bool,
) -> None:
    """Follow a document, reject or figure back to its offsets.

    DOCUMENT_ID is what `assay search` shows: the topic's beginning, partition and offset. The way goes from the index to silver,
    bronze and the topic, with the file that holds each row.

    A figure is a row of a MART: --at selects the time, --where the key. The answer lists the silver rows behind the
    figure according to the mart's own models: how many there are, their topics, partitions and offsets, and some to
    trace further. Every row of that time is run through the models, at tens of thousands of rows per second.
    """
    from platform_assets.cli import render
    from platform_assets.cli.figure import is_figure, trace_mart, wrong_usage
    from platform_assets.reconcile.trace import trace as run

    contract = session.contract(system)
    if is_figure(contract, what):
        if reveal:
            raise wrong_usage("--reveal is for a document")
        trace_mart(session, contract, what, at, where, document, column, sample, as_json)
        return
    if at or where or document or column:
        raise wrong_usage("--at, --where, --id and --column are for a mart")
    found = run(session.settings, contract, what, reveal=reveal)
    if as_json:
        render.emit(found.to_dict())
    else:
        _show(render.console(), contract.table(found.table), found)


def _show(out: Console, table: Table, found: Trace) -> None:
    from platform_assets.cli import render

    lines = render.Lines(out)
    line, under = lines.line, lines.under
    line(table.qualified_name, "")
    line("id", f"{found.id}, {_VERDICTS.get(found.verdict, found.verdict)}")
    if found.survivor:
        line("survivor", found.survivor)
    for document in found.documents:
        line("document", f"{document['id']} in {document['index']}, version {document['version']}")
    if found.silver is not None and table.origin:
        line("origin", ", ".join(f"{name} {render.one_line(found.silver[name], 80)}" for name in table.origin))
    if found.silver is not None:
        _silver(line, under, table, found.silver)
    for reject in found.quarantine:
        line("quarantine", f"stage {reject['stage']}, {reject['reason']}: {render.one_line(reject['detail'], 200)}")
        under(render.one_line(reject["excerpt"], 300))
        under(str(reject["file"]))
    if found.bronze is not None:
        bronze = found.bronze
        line(
            "bronze",
            f"commit {bronze['seq']}, landed {bronze['landed_at']}, {render.count(bronze['value_bytes'])} bytes",
        )
        under(f"sha256 {bronze['value_sha256']}")
        under(str(bronze["file"]))
        if bronze.get("value") is not None:
            line("value", render.one_line(bronze["value"], 100_000))
    shown, at = found.shown, found.at
    where = f"{found.topic}, {shown.shard} {at.shard}, {shown.position} {at.position}"
    line(shown.name, f"{where}; broker: {found.broker}")
    under(f"{shown.source_words} {at.source}")
    for note in found.notes:
        line("note", note)


def _silver(line: Any, under: Any, table: Table, row: dict[str, Any]) -> None:
    from platform_assets.cli import render

    verdict = "its hash agrees" if row.get("hash_agrees") else "ITS HASH DOES NOT AGREE"
    line(
        "silver",
        f"partition {row['event_partition']}, contract {row['_contract_version']}, commit {row['_seq']}, {verdict}",
    )
    under(str(row["file"]))
    for field in table.fields:
        if row.get(field.name) is not None:
            line("", f"{field.name} = {render.one_line(row[field.name], 200)}")
