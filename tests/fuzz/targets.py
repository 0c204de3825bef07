"""The targets by name: each takes any bytes, and says for the curious how far they came."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.fuzz.capsule import capsule
from tests.fuzz.config import config
from tests.fuzz.cookie import cookie
from tests.fuzz.hello import hello
from tests.fuzz.records import records
from tests.fuzz.reply import reply
from tests.fuzz.second_hello import second_hello

__all__ = ["TARGETS"]

TARGETS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "second_hello": second_hello,
    "cookie": cookie,
    "hello": hello,
    "reply": reply,
    "records": records,
    "capsule": capsule,
    "config": config,
}
