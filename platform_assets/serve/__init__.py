"""The HTTP API: search, submit, trace and report for programs and dashboards, each caller within its own rights.

Belongs here: keys, limits, audit, routes. Does not belong here: how anything is found, published or proved (`index/`, `sources/`,
`reconcile/`). Routes come from the contracts: each system has the same ones, and its fields are their parameters.
"""
