"""The systems that there are, as a whole: which of their declarations hold, and everything that is wrong with the others.

Belongs here: looking at a folder of systems and telling about it. Does not belong here: the form of a declaration (`contracts/`,
`alerts/`, `reports/`, `gold/`), or what a command, a route or Dagster does with a broken one.
"""

from platform_assets.registry.look import Part, Problem, Registry, look, problems_of, stopped, valid_systems

__all__ = ["Part", "Problem", "Registry", "look", "problems_of", "stopped", "valid_systems"]
