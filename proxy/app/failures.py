"""Why the supervisor cannot do what it was asked: errors whose text is for the operator."""

from __future__ import annotations

__all__ = ["BindError", "ChildGone", "LoadFailed", "OperatorError", "Refusal"]


class OperatorError(Exception):
    """Something the operator can act on; the text says what and where. Nothing was changed."""


class LoadFailed(OperatorError):
    """The configuration cannot be used."""


class BindError(OperatorError):
    """An address cannot be listened on."""


class Refusal(OperatorError):
    """A generation is not taken, or a child does not answer."""


class ChildGone(Exception):
    """A child exited before it answered."""
