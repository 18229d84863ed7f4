"""Columns of marts: what can be published everywhere is taken, anything else refused with what to write instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

from platform_assets.cli.app import assay
from platform_assets.contracts.model import FieldType
from platform_assets.marts.columns import Merge
from platform_assets.marts.index import MartDocuments
from platform_assets.marts.marts import Mart, declared_marts, load_marts
from platform_assets.marts.project import project_folder

HISTOGRAM = "STRUCT(bucket INTEGER, requests BIGINT)[]"


def write(project: Path, *columns: dict[str, Any], system: str = "shop") -> Path:
    folder = project / "models" / system
    folder.mkdir(parents=True, exist_ok=True)
    given = [{"name": "hour", "data_type": "timestamptz"}, {"name": "shop", "data_type": "varchar"}, *columns]
    model = {
        "name": "sales_hour", "description": "Sales.", "config": {"meta": {"grain": "hour", "key": ["hour", "shop"]}},
        "columns": [{"description": "d", **one} for one in given],
    }  # fmt: skip
    (folder / "marts.yml").write_text(yaml.safe_dump({"version": 2, "models": [model]}))
    return project


def mart(project: Path, *columns: dict[str, Any]) -> Mart:
    [found] = load_marts(write(project, *columns), "shop")
    return found


def mistake(project: Path, *columns: dict[str, Any]) -> str:
    found = declared_marts(write(project, *columns), "shop")
    assert not found.valid
    [wrong] = found.mistakes
    assert wrong.file.endswith("marts.yml") and wrong.line
    return wrong.message


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("VARCHAR", FieldType.STRING), ("text", FieldType.STRING), ("BigInt", FieldType.INTEGER), ("smallint", FieldType.INTEGER),
        ("tinyint", FieldType.INTEGER), ("double", FieldType.NUMBER), ("bool", FieldType.BOOLEAN), ("DATE", FieldType.TIMESTAMP),
        ("TIMESTAMP WITH TIME ZONE", FieldType.TIMESTAMP), ("Decimal(18, 8)", FieldType.DECIMAL),
        ("numeric(38,0)", FieldType.DECIMAL), (HISTOGRAM, None),
    ],
)  # fmt: skip
def test_what_can_be_published_is_in_the_document_however_it_is_written(
    tmp_path: Path, type_: str, kind: FieldType | None
) -> None:
    found = mart(tmp_path, {"name": "x", "data_type": type_})
    assert found.columns[2].kind is kind
    assert [field.name for field in MartDocuments(found, "1").fields] == ["hour", "shop", "x"]
    assert found.schema.names == ["hour", "shop", "x"]


def test_a_decimal_keeps_its_digits(tmp_path: Path) -> None:
    found = mart(tmp_path, {"name": "x", "data_type": "decimal(18,8)"})
    assert found.schema.field("x").type == pa.decimal128(18, 8)
    assert [(f.precision, f.scale) for f in MartDocuments(found, "1").fields] == [(0, 0), (0, 0), (18, 8)]


REFUSED = {
    "hugeint": "cast to bigint, or to decimal(38,0)", "UBIGINT": "cast to bigint, or to decimal(20,0)",
    "uinteger": "cast to bigint", "float": "cast to double", "real": "cast to double", "decimal": "say how many digits",
    "decimal(39,2)": "the precision is 1 to 38", "decimal(4,5)": "the scale 0 to the precision",
    "timestamp": "cast to timestamptz", "timestamp_ns": "cast to timestamptz", "time": "cast to varchar",
    "interval": "cast to double with epoch", "uuid": "cast to varchar", "blob": "base64", "json": "cast to varchar",
    "enum('a', 'b')": "cast to varchar", "varchar[]": "make each member a column", "integer[3]": "make each member a column",
    "struct(a integer)": "make each member a column", "map(varchar, bigint)": "make each member a column",
    "struct(bucket integer)[]": "make each member a column", "geometry": "cast to one of varchar, bigint",
}  # fmt: skip


@pytest.mark.parametrize("type_", REFUSED)
def test_any_other_type_is_refused_with_the_fix(tmp_path: Path, type_: str) -> None:
    said = mistake(tmp_path, {"name": "x", "data_type": type_})
    assert "the model sales_hour: column x" in said
    assert REFUSED[type_] in said


def test_every_wrong_column_is_told_at_once(tmp_path: Path) -> None:
    wrong = [
        {"name": "x", "data_type": "uuid"},
        {"name": "y", "data_type": "interval"},
        {"name": "Shop", "data_type": "bigint"},
    ]
    found = declared_marts(write(tmp_path, *wrong), "shop").mistakes
    assert [one.message.partition(": column ")[2][:8] for one in found] == ["x has th", "y has th", "shop is "]
    assert all(one.line for one in found)


@pytest.mark.parametrize(
    ("name", "said"), [("alerts", "cannot be named alerts"), ("Sales", "no identifier"), ("a-b", "no identifier")]
)
def test_a_name_that_no_index_can_have_is_refused(tmp_path: Path, name: str, said: str) -> None:
    project = write(tmp_path, {"name": "x", "data_type": "bigint"})
    path = next(project.rglob("*.yml"))
    path.write_text(path.read_text().replace("sales_hour", name))
    (found,) = declared_marts(project, "shop").mistakes
    assert said in found.message


BAD_MERGES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "unknown": ([{"data_type": "bigint", "meta": {"aggregate": "add"}}], "it is one of sum, mean"),
    "mean without weight": ([{"data_type": "double", "meta": {"aggregate": "mean"}}], "a mean needs its weight"),
    "mean of money": ([{"data_type": "decimal(9,2)", "meta": {"aggregate": "mean", "weight": "shop"}}], "no decimal is one"),
    "weight that is no sum": (
        [{"data_type": "double", "meta": {"aggregate": "mean", "weight": "shop"}}], "name a column whose aggregate is sum",
    ),
    "sum of texts": ([{"data_type": "varchar", "meta": {"aggregate": "sum"}}], "it is for numbers"),
    "percentile of nothing": ([{"data_type": "double", "meta": {"aggregate": "percentile", "percentile": 95}}], "of: <hist"),
    "percentile of a text": (
        [{"data_type": "double", "meta": {"aggregate": "percentile", "percentile": 95, "of": "shop"}}], "name a histogram",
    ),
    "histogram that is summed": ([{"data_type": HISTOGRAM, "meta": {"aggregate": "sum"}}], "a histogram is struct"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MERGES)
def test_a_wrong_aggregate_is_refused(tmp_path: Path, case: str) -> None:
    columns, said = BAD_MERGES[case]
    assert said in mistake(tmp_path, *({"name": f"x{n}", **one} for n, one in enumerate(columns)))


def test_whole_numbers_and_decimals_add_up_unless_declared_otherwise(tmp_path: Path) -> None:
    found = mart(
        tmp_path,
        {"name": "orders", "data_type": "bigint"},
        {"name": "revenue", "data_type": "decimal(18,2)"},
        {"name": "ratio", "data_type": "double"},
        {"name": "buyers", "data_type": "bigint", "config": {"meta": {"aggregate": "distinct"}}},
    )
    assert [c.merge for c in found.columns] == [
        Merge.NONE, Merge.NONE, Merge.SUM, Merge.SUM, Merge.NONE, Merge.DISTINCT,
    ]  # fmt: skip


def test_contract_check_and_refresh_refuse_the_mart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = shutil.copytree(
        project_folder(), tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "models", "logs")
    )
    monkeypatch.setenv("ASSAY_DBT_PROJECT", str(write(project, {"name": "x", "data_type": "uuid"}, system="logs")))
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    for command in (["contract", "check", "logs"], ["gold", "refresh", "logs"]):
        done = CliRunner().invoke(assay, command)
        assert done.exit_code == 1, done.output
        assert "column x has the type uuid, which cannot be published: cast to varchar" in done.output
