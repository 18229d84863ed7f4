"""Gold: marts that dbt models build from silver, published to Delta tables and to the index.

Belongs here: which time slots are touched, the database of one run, publishing what dbt has built and tested. Does not belong
here: what a mart says (`dbt_project/`), Dagster (`defs/gold.py`).
"""
