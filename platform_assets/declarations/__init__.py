"""The systems that there are, as a whole: which of their declarations hold, and everything that is wrong with the others.

Belongs here: looking at a folder of systems and telling about it. Does not belong here: the form of a declaration (`contracts/`,
`alerts/`, `reports/`, `marts/`), or what a command, a route or Dagster does with a broken one.
"""

from platform_assets.declarations.read import (
    Declarations,
    Part,
    Problem,
    problems_of,
    read_systems,
    stopped,
    valid_systems,
)

__all__ = ["Declarations", "Part", "Problem", "problems_of", "read_systems", "stopped", "valid_systems"]
