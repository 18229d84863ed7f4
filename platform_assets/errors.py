"""The errors a person is meant to read.

Belongs here: the one root of every error that the command line shows as a line. Does not: the errors of one room,
which derive from it where they are raised.
"""

from __future__ import annotations


class AssayError(Exception):
    """Something a person can act on.

    `message` says in one line what is wrong, `hint` what to do next (empty when there is nothing to add).
    Neither ever holds a secret.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message, and the hint behind a dash."""
        return f"{self.message} - {self.hint}" if self.hint else self.message


def one_line(said: object) -> str:
    """What another program's error or answer says, as one line of at most 300 characters."""
    return " ".join(str(said).split())[:300]
