"""What the words of a text cost the index: size and the node's processor time for a million documents, by analyzer.

`python -m bench.analyzers --home HOME [--lines FILE ...]` writes the same lines to an index for each candidate, those of FILEs
(real logs, again and again) and the messages of simulated events apart, merges each to one segment, and prints the figures as
JSON. Processor time is the node's own, so that a busy machine does not change it much. `probes` is how many of the words that
people type each candidate finds.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch

from bench.bulk import _client, _simulated
from bench.common import machine, services
from platform_assets.contracts.read import load_contracts
from platform_assets.index.analysis import ASKED, STORED, analysis
from platform_assets.index.client import request_text
from platform_assets.index.documents import BODY_BYTES

PROBES = (
    ("java.io.IOException: Broken pipe", "IOException"),
    ("java.io.IOException: Broken pipe", "java.io.IOException"),
    ("java.io.IOException: Broken pipe", "IOException broken pipe"),
    ("cause:timeout for the user's order", "timeout"),
    ("cause:timeout for the user's order", "user"),
    ("SocketTimeoutException in worker", "Timeout"),
    ("SocketTimeoutException in worker", "TimeoutException"),
    ("SocketTimeoutException in worker", "sockettimeoutexception in worker"),
    ("\x1b[31mERROR\x1b[0m Time\x1b[1mout", "ERROR timeout"),
    ("max_poll_records=500", "poll"),
    ("took 150ms", "150"),
    ("Ошибка: ёлка", "елка"),
    ("支払いに失敗", "失敗"),
    ("결제가 실패", "결제"),
)
"""(what is stored, a word or phrase that people type)."""


def candidates() -> dict[str, dict[str, Any]]:
    """The settings `analysis` of each; all have the analyzers `STORED` and `ASKED`."""
    ours = analysis()
    plain = {"type": "custom", "tokenizer": "standard", "filter": ["lowercase"]}
    graph = {"type": "word_delimiter_graph", "preserve_original": True}
    split = {"type": "custom", "tokenizer": "whitespace", "filter": ["graph", "flatten_graph", "lowercase"]}
    words = {**ours, "analyzer": dict.fromkeys((STORED, ASKED), ours["analyzer"][ASKED])}
    return {
        "standard": {"analyzer": {STORED: plain, ASKED: plain}},
        "word_delimiter_graph": {
            "filter": {"graph": graph},
            "analyzer": {STORED: split, ASKED: {**split, "filter": ["graph", "lowercase"]}},
        },
        "words": words,
        "words and their parts": ours,
    }


def run(client: OpenSearch, texts: dict[str, Sequence[str]]) -> dict[str, Any]:
    """`analyzers.<candidate>.<texts>` for each of the named texts, and how many probes each candidate finds."""
    figures: dict[str, Any] = {}
    for name, settings in candidates().items():
        found = _probes(client, settings)
        figures[f"analyzers.{name}.probes"] = f"{found} of {len(PROBES)}"
        for which, lines in texts.items():
            figures[f"analyzers.{name}.{which}"] = _cost(client, settings, lines)
    return {**figures, "machine": machine()}


def _index(client: OpenSearch, settings: dict[str, Any]) -> str:
    index = f"assay-bench-{secrets.token_hex(4)}"
    field = {"type": "text", "analyzer": STORED, "search_analyzer": ASKED, "norms": False}
    mappings = {"properties": {"message": field}, "_source": {"enabled": False}}
    shape = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": -1, "analysis": settings}
    client.indices.create(index=index, body={"settings": shape, "mappings": mappings})
    return index


def _probes(client: OpenSearch, settings: dict[str, Any]) -> int:
    index = _index(client, settings)
    try:
        for text in dict.fromkeys(text for text, _ in PROBES):
            client.index(index=index, body={"message": text}, id=text.encode().hex()[:80])
        client.indices.refresh(index=index)
        found = 0
        for text, asked in PROBES:
            body = {"query": {"match_phrase": {"message": asked}}}
            hits = client.search(index=index, body=body)["hits"]["hits"]
            found += text.encode().hex()[:80] in [hit["_id"] for hit in hits]
        return found
    finally:
        client.indices.delete(index=index)


def _cost(client: OpenSearch, settings: dict[str, Any], lines: Sequence[str]) -> dict[str, Any]:
    index = _index(client, settings)
    try:
        began = _cpu_ms(client)
        for body in _bodies(lines):
            answer = request_text(
                client,
                "POST",
                f"/{index}/_bulk",
                params={"filter_path": "errors"},
                body=body,
                content_type="application/x-ndjson",
            )
            assert answer == '{"errors":false}', answer
        client.indices.refresh(index=index)
        used = _cpu_ms(client) - began
        client.indices.forcemerge(index=index, params={"max_num_segments": 1, "request_timeout": 600})
        client.indices.refresh(index=index)
        [[shard]] = client.indices.segments(index=index)["indices"][index]["shards"].values()
        size = sum(segment["size_in_bytes"] for segment in shard["segments"].values() if segment["search"])
        million = 1_000_000 / len(lines)
        return {
            "documents": len(lines),
            "mb_per_million": round(size * million / 1e6, 1),
            "cpu_s_per_million": round(used * million / 1000, 1),
        }
    finally:
        client.indices.delete(index=index)


def _cpu_ms(client: OpenSearch) -> int:
    """The processor time of the one node so far."""
    [node] = client.nodes.stats(metric="process")["nodes"].values()
    return int(node["process"]["cpu"]["total_in_millis"])


def _bodies(lines: Iterable[str]) -> Iterable[bytes]:
    body, size = [], 0
    for line in lines:
        body.append(b'{"index":{}}\n' + json.dumps({"message": line}).encode() + b"\n")
        size += len(body[-1])
        if size > BODY_BYTES:
            yield b"".join(body)
            body, size = [], 0
    if body:
        yield b"".join(body)


def main() -> None:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--lines", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    simulated = _simulated(load_contracts()["logs"].table("events"), chosen.events).column("message").to_pylist()
    texts: dict[str, Sequence[str]] = {"simulated": [text for text in simulated if text]}
    read = [line for path in chosen.lines for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if read:
        texts["real"] = read * -(-chosen.events // len(read))  # a few lines alone say little of a warm node
    with services(chosen.home) as settings:
        client = _client(settings)
        try:
            # Once before, unseen: the first candidate would pay for a cold node.
            _cost(client, analysis(), texts["simulated"])
            figures = run(client, texts)
        finally:
            client.close()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
