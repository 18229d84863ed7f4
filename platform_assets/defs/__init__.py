"""Dagster bindings: what the platform does, as assets, checks, jobs, sensors and schedules.

Belongs here: names, partitions, policies, and turning reports into events that Dagster keeps. Does not: any work on data;
a function in here that opens a table or a topic by itself is in the wrong package. No other package imports Dagster.

The code location loads without network or environment: what needs them is imported inside the functions that run.
"""
