"""Bronze to silver: a contract compiled to one SELECT, run by DuckDB over Arrow batches.

Belongs here: decoding, checks, reject reasons, masking, scrubbing, content hashes. Does not belong here: where the tables
lie, offsets and transactions, duplicates across batches (the lane drops them by `_key_hi`/`_key_lo`).
"""

from platform_assets.refine.hashing import hash_select, key_select
from platform_assets.refine.masking import Masker
from platform_assets.refine.refinery import Refined, Refinery
from platform_assets.refine.select import compile_select

__all__ = ["Masker", "Refined", "Refinery", "compile_select", "hash_select", "key_select"]
