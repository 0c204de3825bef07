"""`python -m tests.fuzz.seed` writes the generated part of the corpus.

The hello records named after clients were sent by these clients to a local socket; they are not
generated. Everything here is one: each message of the state table as a script, and contexts.
"""

import struct
from collections.abc import Mapping
from typing import Final

from proxy.tls import TlsContext, encode_context
from proxy.wire import NamedGroup
from tests.fuzz.harness import CORPUS
from tests.fuzz.invariant import records, reply
from tests.tls.client import key_update
from tests.tls.hello import hello
from tests.tls.test_context import ESTABLISHED, PLAIN, RETRIED

__all__ = ["main"]

_RAW, _SEALED, _UPDATED = range(3)


def _script(*steps: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">BH", step, len(data)) + data for step, data in steps)


_REPLIES: Final = {
    "ccs": _script((_RAW, b"\x14\3\3\0\1\1"), (_RAW, b"\x14\3\3\0\1\1")),
    "alert": _script((_RAW, b"\x15\3\3\0\2\2\x28")),
    "sealed-alert": _script((_SEALED, b"\1\0\x15")),
    "early-data": _script((_RAW, b"\x17\3\3\0\x14" + bytes(20)), (_SEALED, b"\x14\x16")),
    "finished-in-pieces": _script((_SEALED, b"\x14\x16"), (_SEALED, b"\0\0\x20\x16")),
    "wrong-finished": _script((_SEALED, b"\x14\0\0\x20" + bytes(32) + b"\x16")),
    "key-update": _script((_SEALED, key_update(0) + b"\x16")),
    "no-type": _script((_SEALED, bytes(9))),
}
_RECORDS: Final = {
    "data": _script((_SEALED, b"data\x17"), (_SEALED, b"more\x17\0\0\0")),
    "empty": _script((_SEALED, b"\x17"), (_SEALED, b"\x17")),
    "key-update": _script((_SEALED, key_update(1) + b"\x16"), (_UPDATED, b"data\x17")),
    "key-update-in-pieces": _script((_SEALED, b"\x18\0\x16"), (_SEALED, b"\0\1\0\x16")),
    "close": _script((_SEALED, b"\1\0\x15"), (_RAW, b"junk")),
    "user-canceled": _script((_SEALED, b"\1\x5a\x15"), (_SEALED, b"\1\0\x15")),
    "plain": _script((_RAW, b"\x17\3\3\0\x11" + bytes(17))),
    "split": _script((_RAW, b"\x17\3"), (_RAW, b"\3\0"), (_RAW, b"\x11")),
}
_HELLOS: Final = {
    "hybrid": hello(NamedGroup.X25519MLKEM768),
    "all-groups": hello(*NamedGroup),
    "no-share": hello(shares=[]),
    "compatible": hello(session_id=bytes(32), alpn=[b"h2", b"http/1.1"]),
    "early-data": hello(early_data=True, extra=[(45, b"\1\1")]),
    "cookie": hello(cookie=b"cookie"),
    "tls12": hello(versions=[0x0303]),
}
_CONTEXTS: Final[Mapping[str, TlsContext]] = {
    "established": ESTABLISHED,
    "plain": PLAIN,
    "retried": RETRIED,
}


def main() -> None:
    """Write every generated file; the scripts are run once, so that none is a mistake."""
    files: dict[str, bytes] = {}
    for name, made in _HELLOS.items():
        files[f"hello/{name}"] = made.records()
    for name, script in _REPLIES.items():
        reply(script)
        files[f"reply/{name}"] = script
    for name, script in _RECORDS.items():
        records(script)
        files[f"records/{name}"] = script
    for name, context in _CONTEXTS.items():
        files[f"context/{name}"] = encode_context(context)
    for path, data in files.items():
        (CORPUS / path).with_suffix(".bin").write_bytes(data)


if __name__ == "__main__":
    main()
