"""Collects what is wrong with one file while it is checked.

Rules: whoever checks names the key by its location and goes on; nothing stops at the first
problem. Places come from the document, and so does the order in which all is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from proxy.config.document import Document, Mark
from proxy.config.errors import Caution, ConfigError, Location, Problem, Unfit, key_path


class Findings:
    """The problems and cautions of one document, those of its YAML included."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems = list(document.problems)
        self._cautions: list[Caution] = []

    def problem(
        self,
        location: Location,
        expected: str,
        found: str = "",
        hint: str = "",
        *,
        at_key: bool = False,
    ) -> None:
        """Note an error; `at_key` points to the key itself instead of its value."""
        mark = self._mark(location, at_key=at_key)
        problem = Problem(
            file=self.document.file,
            line=mark.line,
            column=mark.column,
            key=key_path(location),
            expected=expected,
            found=found,
            hint=hint,
        )
        self._problems.append(problem)

    def unfit(self, location: Location, error: Unfit, found: str = "") -> None:
        """Note a value that does not fit."""
        self.problem(location, error.expected, error.found or found, error.hint)

    def caution(self, location: Location, text: str, *, at_key: bool = False) -> None:
        """Note something that works and will probably be regretted."""
        mark = self._mark(location, at_key=at_key)
        caution = Caution(
            file=self.document.file,
            line=mark.line,
            column=mark.column,
            key=key_path(location),
            text=text,
        )
        self._cautions.append(caution)

    def close(self) -> tuple[Caution, ...]:
        """Return the cautions in the file's order; raise ConfigError if there were problems."""
        if self._problems:
            raise self.error()
        return tuple(_in_order(self._cautions))

    def error(self) -> ConfigError:
        """All of it as an exception; there has been a problem."""
        return ConfigError(_in_order(self._problems), _in_order(self._cautions))

    def _mark(self, location: Location, *, at_key: bool) -> Mark:
        return self.document.key_mark(location) if at_key else self.document.mark(location)


_Remark = TypeVar("_Remark", Problem, Caution)


def _in_order(remarks: Iterable[_Remark]) -> list[_Remark]:
    return sorted(remarks, key=lambda remark: (remark.line, remark.column))
