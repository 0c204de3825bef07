"""The one type that secrets live in: it prints and pickles as nothing."""

from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """Bytes that never show in a repr, a log or a traceback's locals."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, at the one place that needs them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __eq__(self, other: object) -> NoReturn:
        # An ordinary comparison would leak by time; hmac.compare_digest on reveal() does not.
        raise TypeError("compare secrets with hmac.compare_digest")

    def __hash__(self) -> NoReturn:
        raise TypeError("a secret is no key of a dict: hashing tells of its value")
