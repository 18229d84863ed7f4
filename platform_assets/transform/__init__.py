"""Bronze to silver: a contract compiled to one SELECT, run by DuckDB over Arrow batches.

Belongs here: decoding, checks, reject reasons, masking, scrubbing, content hashes. Does not belong here: where the tables
lie, offsets and transactions, duplicates across batches (the worker drops them by `_key_hi`/`_key_lo`).
"""

from platform_assets.transform.hashing import hash_select, key_select
from platform_assets.transform.masking import Masker
from platform_assets.transform.select import compile_select
from platform_assets.transform.transformer import Transformed, Transformer

__all__ = ["Masker", "Transformed", "Transformer", "compile_select", "hash_select", "key_select"]
