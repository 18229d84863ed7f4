"""Pseudonyms for personal data: keyed HMAC-SHA256 of whole values.

Belongs here: keys (in memory only), the pseudonym of a value, whole columns of them. Does not belong here: where keys come
from, which fields are masked (the contract says), scrubbing of free text (`scrub.py`).

A pseudonym is the first 128 bits, in hex, of HMAC-SHA256(key, field name + NUL + value): the same value in two fields of
different name cannot be linked, the same user id in two tables can.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa

from platform_assets.core.settings import Settings

HEX_DIGITS = 32
_MIN_KEY_BYTES = 16


class Masker:
    """Masks values with the active key; older keys stay known so that queries can find rows masked with them.

    `keys` maps key ids to keys of at least 16 bytes, `active` is the id of the one that masks. `cache_size` bounds the
    number of values per field whose pseudonyms are remembered between batches. Raises ValueError for a short key or an
    unknown active id. Not safe for use by several threads at once.
    """

    def __init__(self, keys: Mapping[str, bytes], active: str, *, cache_size: int = 500_000) -> None:
        if active not in keys:
            raise ValueError(f"no masking key with the id {active!r}")
        short = sorted(key_id for key_id, key in keys.items() if len(key) < _MIN_KEY_BYTES)
        if short:
            raise ValueError(f"masking keys shorter than {_MIN_KEY_BYTES} bytes: {', '.join(short)}")
        self._keys = dict(keys)
        self._active = active
        self._cache_size = cache_size
        self._cache: dict[str, dict[str, str]] = {}

    def __repr__(self) -> str:
        return f"Masker(active={self._active!r}, key_ids={sorted(self._keys)!r})"

    @property
    def key_id(self) -> str:
        """The id of the key that masks now."""
        return self._active

    @property
    def key_ids(self) -> tuple[str, ...]:
        """All known key ids, the active one first."""
        return (self._active, *sorted(set(self._keys) - {self._active}))

    def mask(self, value: str, field: str, key_id: str | None = None) -> str:
        """The pseudonym of one value of a field, by the active key or the one named. KeyError for an unknown key id."""
        return _pseudonym(self._keys[key_id or self._active], field, value)

    def mask_column(self, column: pa.ChunkedArray[Any], field: str) -> pa.ChunkedArray[Any]:
        """A string column with each value replaced by its pseudonym; nulls stay null. Works on distinct values."""
        encoded = column.combine_chunks().dictionary_encode()
        masked = pa.array(self._mask_distinct(cast(list[str], encoded.dictionary.to_pylist()), field), pa.string())
        return pa.chunked_array([masked.take(encoded.indices)], pa.string())

    def _mask_distinct(self, values: list[str], field: str) -> list[str]:
        cache = self._cache.get(field, {})
        if len(cache) + len(values) > self._cache_size:
            cache = {}
        key = self._keys[self._active]
        masked = [cache.get(value) or _pseudonym(key, field, value) for value in values]
        if len(values) <= self._cache_size:
            cache.update(zip(values, masked, strict=True))
        self._cache[field] = cache
        return masked


def _pseudonym(key: bytes, field: str, value: str) -> str:
    return hmac.digest(key, f"{field}\0{value}".encode(), "sha256").hex()[:HEX_DIGITS]


def masker(settings: Settings) -> Masker:
    """The masking keys that the settings hold; rows are masked with the current one."""
    return Masker(settings.hmac_keys(), settings.hmac_key_id)
