"""The one error of this package: a contract that cannot be accepted, said in one line.

Belongs here: how that line is made. Does not belong here: what is checked.
"""

from __future__ import annotations


class ContractError(ValueError):
    """A contract document is wrong, or a change to it is not allowed.

    `message` is one line: file, place in the document, what is wrong. `hint` says what is allowed (may be empty).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        return f"{self.message} - {self.hint}" if self.hint else self.message


def at(place: str, problem: str, allowed: str = "") -> ContractError:
    """The error for something wrong at a place of the document, e.g. `schema[events].properties[level]`."""
    return ContractError(f"{place}: {problem}" if place else problem, allowed)
