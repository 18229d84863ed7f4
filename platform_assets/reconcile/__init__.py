"""Trust: whether what the platform shows is what arrived, and what to do when it is not.

Belongs here: prove (reconcile all layers), replay (rejects through the present contract), trace (a document back to its
offset), state (cheap facts for status and checks), gaps (find and accept). Does not belong here: how layers are written (worker),
Dagster (defs).
"""
