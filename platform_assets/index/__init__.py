"""OpenSearch: mappings, bulk, aliases, progress, queries.

Belongs here: what is said to and heard from the index. Rows come in and go out as Arrow tables with silver's columns.
Does not belong here: where rows are stored (lake), where they came from (stream), who may see them (serve).
"""
