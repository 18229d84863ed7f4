"""The errors a person is meant to read, and the mistakes of a declaration that such an error carries.

Belongs here: the one root of every error that the command line shows, and the collector that lets a check go on after a
mistake. Does not: the errors of one package, which derive from it where they are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a declaration (contract, rule, report, mart).

    `message` is one line and names the place in the document, `hint` says what is allowed (may be empty). `file` is empty and
    `line` is None where they are not known.
    """

    message: str
    hint: str = ""
    place: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """`file:line: message - hint`, as editors and CI understand it."""
        line = f"{self.file}:{self.line}: " if self.file else f"line {self.line}: "
        where = line if self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.message} - {self.hint}" if self.hint else f"{where}{self.message}"


class AssayError(Exception):
    """Something a person can act on.

    `message` says in one line what is wrong, `hint` what to do next (empty when there is nothing to add). `mistakes` has
    every mistake of a wrong declaration; of any other error it is the error itself. None of them ever holds a secret.
    """

    def __init__(self, message: str, hint: str = "", *, mistakes: Iterable[Mistake] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.mistakes = tuple(mistakes) or (Mistake(message, hint),)

    def __str__(self) -> str:
        """The message, and the hint behind a dash."""
        return f"{self.message} - {self.hint}" if self.hint else self.message


class Mistakes:
    """Collects the mistakes of one document, so that all of them are told at once."""

    def __init__(self) -> None:
        self.found: list[Mistake] = []

    def note(self, error: AssayError) -> None:
        """Note the mistakes of an error."""
        self.found += error.mistakes

    @contextmanager
    def go_on(self) -> Iterator[None]:
        """Note the mistakes of an error that the block raises, and go on behind it."""
        try:
            yield
        except AssayError as error:
            self.note(error)

    def get(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `read` returns; None when it raises, and its mistakes are noted."""
        with self.go_on():
            return read(*args, **kwargs)
        return None


def told(mistakes: Iterable[Mistake]) -> tuple[str, str]:
    """(message, hint) of an error that carries these mistakes; a single one speaks for itself."""
    found = list(mistakes)
    if len(found) == 1:
        one = replace(found[0], hint="")
        return str(one), found[0].hint
    return f"{len(found)} mistakes: {'; '.join(map(str, found))}", ""


def one_line(said: object) -> str:
    """What another program's error or answer says, as one line of at most 300 characters."""
    return " ".join(str(said).split())[:300]
