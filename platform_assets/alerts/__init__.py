"""Alerts: rules over windows of silver and over the platform itself, incidents, notifications.

Belongs here: reading rules, evaluating them, the life of an incident, where incidents are kept and how people hear of them.
Does not belong here: Dagster (defs), or when the worker commits (worker).
"""
