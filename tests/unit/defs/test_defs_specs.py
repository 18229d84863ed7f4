"""Specs follow from contracts: one snapshot of a made-up system, and what must hold for every packaged one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dagster import AssetKey, AssetSpec
from shop_system import SHOP

from platform_assets import definitions, gold_definitions
from platform_assets.contracts.read import load_contracts
from platform_assets.defs.build import build_definitions
from platform_assets.defs.specs import Layer, alerts_key, ingest_specs, key, topic_spec
from platform_assets.defs.stale import mart_keys

SNAPSHOT = Path(__file__).with_name("specs.snapshot.json")


def plain(spec: AssetSpec) -> dict[str, Any]:
    """A spec as JSON, every attribute that a reader of the catalogue sees."""
    metadata = dict(spec.metadata)
    schema = metadata.pop("dagster/column_schema", None)
    return {
        "key": spec.key.to_user_string(),
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "description": spec.description,
        "group": spec.group_name,
        "owners": list(spec.owners),
        "tags": dict(sorted(spec.tags.items())),
        "kinds": sorted(spec.kinds),
        "partitions": str(spec.partitions_def),
        "freshness": str(spec.freshness_policy),
        "columns": schema and [f"{c.name} {c.type} {c.constraints} {c.tags}" for c in schema.columns],
        "metadata": {name: str(getattr(value, "value", value)) for name, value in sorted(metadata.items())},
    }


def test_specs_are_as_recorded() -> None:
    """A change of the catalogue is seen in review. ASSAY_UPDATE_SNAPSHOTS=1 records anew."""
    specs = [*ingest_specs(SHOP), *(topic_spec(SHOP, table) for table in SHOP.tables)]
    found = json.dumps([plain(spec) for spec in specs], indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("ASSAY_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert json.loads(found) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_of_every_system_is_fresh_owned_and_described() -> None:
    contracts = load_contracts()
    graph, gold = (location.defs.resolve_asset_graph() for location in (definitions, gold_definitions))
    known = graph.get_all_asset_keys()
    made = {asset: graph.get(asset) for asset in known}
    made |= {
        asset: gold.get(asset) for asset in gold.get_all_asset_keys() - known
    }  # it names silver, which is not its own
    layers = {asset.path[0] for asset in made}
    assert layers == {"topic", *Layer, "gold", "alerts"}
    for contract in contracts.values():
        expected = {key(layer, table) for table in contract.tables for layer in ("topic", *Layer)}
        assert expected | {alerts_key(contract.system), *mart_keys(contract.system)} <= set(made)
    for asset, node in made.items():
        assert node.freshness_policy is not None, asset
        assert node.owners and node.description and node.kinds, asset
        assert node.group_name == asset.path[1] and asset.path[1] in contracts
        assert node.is_materializable == (asset.path[0] not in ("topic", "alerts")), asset


def test_every_node_of_the_graph_has_a_name_of_its_own() -> None:
    """The graph shows the last part of a key only, within a box for each group."""
    graph, gold = (location.defs.resolve_asset_graph() for location in (definitions, gold_definitions))
    shown = [(graph.get(asset).group_name, asset.path[-1]) for asset in graph.get_all_asset_keys()]
    made = gold.get_all_asset_keys() - graph.get_all_asset_keys()
    shown += [(gold.get(asset).group_name, asset.path[-1]) for asset in made]
    assert len(set(shown)) == len(shown)
    for asset in graph.get_all_asset_keys():
        assert asset.path[0] in graph.get(asset).kinds and asset.path[0] in asset.path[-1]


def test_lineage_reads_from_topic_to_index() -> None:
    graph = build_definitions({"shop": SHOP}).resolve_asset_graph()

    def parents(layer: str) -> set[AssetKey]:
        return set(graph.get(AssetKey([layer, "shop", f"{layer}_orders"])).parent_keys)

    assert parents("bronze") == {AssetKey(["topic", "shop", "topic_orders"])}
    assert parents("silver") == parents("quarantine") == {AssetKey(["bronze", "shop", "bronze_orders"])}
    assert parents("index") == {AssetKey(["silver", "shop", "silver_orders"])}


def test_personal_data_is_marked_where_it_is_in_clear() -> None:
    specs = {spec.key: spec for spec in ingest_specs(SHOP)}
    orders, visits = SHOP.tables
    assert specs[key(Layer.BRONZE, orders)].tags["assay/personal_data"] == "in_clear"
    assert specs[key(Layer.SILVER, orders)].tags["assay/personal_data"] == "masked"
    assert "assay/personal_data" not in specs[key(Layer.BRONZE, visits)].tags


def test_keys_are_checked_only_where_the_contract_has_one() -> None:
    checks = {
        found.to_user_string() for found in build_definitions({"shop": SHOP}).resolve_asset_graph().asset_check_keys
    }
    assert "silver/shop/silver_orders:keys_unique" in checks
    assert "silver/shop/silver_visits:keys_unique" not in checks
