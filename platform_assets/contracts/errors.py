"""The one error of this package: a contract that cannot be accepted, or several mistakes of one.

Belongs here: how a mistake is said. Does not belong here: what is checked.
"""

from __future__ import annotations

from collections.abc import Iterable

from platform_assets.core.errors import AssayError, Mistake, told


class ContractError(AssayError, ValueError):
    """A contract document is wrong, or a change to it is not allowed.

    `message` is one line: file, place in the document, what is wrong. `hint` says what is allowed (may be empty).
    """

    def __init__(self, message: str, hint: str = "", *, mistakes: Iterable[Mistake] = ()) -> None:
        super().__init__(" ".join(message.split()), " ".join(hint.split()), mistakes=mistakes)

    @classmethod
    def of(cls, mistakes: Iterable[Mistake]) -> ContractError:
        """The error that tells all of these mistakes."""
        found = tuple(mistakes)
        message, hint = told(found)
        return cls(message, hint, mistakes=found)


def at(place: str, problem: str, allowed: str = "") -> ContractError:
    """The error for something wrong at a place of the document, e.g. `schema[events].properties[level]`."""
    said, hint = " ".join((f"{place}: {problem}" if place else problem).split()), " ".join(allowed.split())
    return ContractError(said, hint, mistakes=[Mistake(said, hint, place)])
