"""`python -m tests.fuzz.seed` writes the generated part of the corpus.

Files named after clients and their versions were recorded (`record.py`); everything here is one
rule of a target each, with what has to come of it.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from proxy.handoff import Capsule, DenialReason, encode_capsule
from proxy.handoff.frames import encode_answers, memory_offer_header, offer_header
from proxy.tls import encode_context
from proxy.wire import NamedGroup, alert_record, change_cipher_spec_record
from tests.fuzz import cookie, records, reply, second_hello
from tests.fuzz.harness import CORPUS, ROOT
from tests.fuzz.scripts import packed
from tests.tls.client import key_update
from tests.tls.hello import Hello, hello
from tests.tls.test_context import ESTABLISHED, PLAIN, RETRIED

__all__ = ["SEEDS", "Seed", "main"]

_CCS: Final = change_cipher_spec_record()
_R, _E, _C, _S = reply.Step, records.Step, cookie.Step, second_hello.Step
_CHACHA, _EARLY = 2, 3
"""Scenarios of `reply`: the third suite; the first one with early data."""


# One identity with its age, one binder (RFC 8446, Section 4.2.11).
_PRE_SHARED_KEY: Final = (41, bytes.fromhex("0007 0001 61 00000000 0021 20") + bytes(32))

_TWO_IDENTITIES: Final = (41, bytes.fromhex("000e" + "000161 00000000" * 2 + "0021 20") + bytes(32))


class Seed(NamedTuple):
    """An input and what its target says of it."""

    data: bytes
    outcome: str


def _hellos() -> Iterator[tuple[str, Seed]]:
    compatible = hello(session_id=bytes(32), alpn=[b"h2", b"http/1.1"])
    made = {
        "hybrid": (hello(NamedGroup.X25519MLKEM768), "answered"),
        "all-groups": (hello(*NamedGroup), "answered"),
        "compatible": (compatible, "answered"),
        "early-data": (hello(early_data=True, extra=[(45, b"\1\1")]), "answered"),
        "pre-shared-key": (hello(extra=[(45, b"\1\1"), _PRE_SHARED_KEY]), "answered"),
        "no-share": (hello(shares=[]), "retried"),
        "binders": (hello(extra=[(45, b"\1\1"), _TWO_IDENTITIES]), "malformed"),
        "share-twice": (hello(NamedGroup.X25519, NamedGroup.X25519), "duplicate_share"),
        "other-chain": (hello(certificate_schemes=[0x0401], schemes=[0x0403]), "answered"),
        "cookie": (hello(cookie=b"cookie"), "bad_cookie"),
        "tls12": (hello(versions=[0x0303]), "no_shared_version"),
        "other-protocol": (hello(alpn=[b"h2"]), "no_shared_protocol"),
    }
    for name, (one, outcome) in made.items():
        yield name, Seed(one.records(), outcome)
    record = compatible.records()
    pieces = [record[5:][at : at + 40] for at in range(0, len(record) - 5, 40)]
    split = b"".join(b"\x16\3\1" + len(piece).to_bytes(2) + piece for piece in pieces)
    yield "in-records", Seed(split, "answered")
    yield "http-request", Seed(b"GET / HTTP/1.1\r\n\r\n", "unexpected_record")


_RESUMING: Final = hello(shares=[], extra=[(45, b"\1\1"), _PRE_SHARED_KEY])
_ASKED: Final = hello(shares=[], session_id=bytes(32))
_KEPT: Final = hello(NamedGroup.X25519, extra=[(21, bytes(20))])
_TRIED: Final = hello(shares=[], early_data=True, extra=[(45, b"\1\1")])


def _turn(first: Hello, *script: tuple[int, bytes], without: int = 0) -> bytes:
    message = first.encode()
    return bytes((without,)) + len(message).to_bytes(2) + message + packed(script)


def _second_hellos() -> Iterator[tuple[str, Seed]]:
    right = (_S.RIGHT, b"")
    yield "asked", Seed(_turn(_ASKED, right), "answered")
    yield "asked-p384", Seed(_turn(_ASKED, right, without=0b0111), "answered")
    yield "kept", Seed(_turn(_KEPT, right), "answered")
    yield "resuming", Seed(_turn(_RESUMING, right), "answered")
    yield "in-records", Seed(_turn(_ASKED, (_S.RAW, _CCS), (_S.RIGHT, b"\1")), "answered")
    yield (
        "behind-early-data",
        Seed(_turn(_TRIED, (_S.EARLY_DATA, bytes(99)), (_S.RAW, _CCS), right), "answered"),
    )
    yield "early-data", Seed(_turn(_KEPT, (_S.EARLY_DATA, bytes(99))), "unexpected_record")
    yield "early-data-overflow", Seed(_turn(_TRIED, (_S.RAW, b"\x17\3\3\x41\1")), "record_overflow")
    yield (
        "too-much-early-data",
        Seed(
            _turn(_TRIED, (_S.EARLY_DATA, bytes(300)), (_S.RAW, b"\x17\3\3\x41\0")),
            "unexpected_early_data",
        ),
    )
    yield "ccs-twice", Seed(_turn(_KEPT, (_S.RAW, _CCS * 2), right), "answered")
    yield "alert", Seed(_turn(_KEPT, (_S.RAW, alert_record(40))), "peer_alert")  # type: ignore[arg-type]  # any number
    yield (
        "junk-behind",
        Seed(_turn(_ASKED, right, (_S.RAW, b"\x16\3\3\0\1\1")), "unexpected_record"),
    )
    yield "ccs-behind", Seed(_turn(_ASKED, right, (_S.RAW, _CCS)), "answered")
    yield (
        "message",
        Seed(
            _turn(_KEPT, (_S.MESSAGE, hello(cookie=second_hello.PLACEHOLDER).encode())),
            "hello_changed",
        ),
    )
    edits = {
        "byte": (b"\0\0\5\1", "hello_changed"),
        "left-out": (b"\1\0\0\0", "hello_changed"),
        "moved": (b"\2\0\0\3", "hello_changed"),
        "number": (b"\3\x11\x11\0", "hello_changed"),
        "cut": (b"\4\0\0\1", "bad_server_name"),
        "padded": (b"\5\0\0\x40", "answered"),
        "longer": (b"\6\0\0\0", "bad_server_name"),
        "twice": (b"\3\0\0\1", "duplicate_extension"),
        "early-data": (b"\7\0\x2a\0", "hello_changed"),
    }
    for name, (edit, outcome) in edits.items():
        yield f"edited-{name}", Seed(_turn(_ASKED, (_S.EDITED, edit)), outcome)


def _cookies() -> Iterator[tuple[str, Seed]]:
    scripts: dict[str, tuple[list[tuple[int, bytes]], str]] = {
        "right": ([], "redeemed"),
        "last-moment": ([(_C.LATER, cookie.LIFETIME_MS.to_bytes(4))], "redeemed"),
        "stale": ([(_C.LATER, (cookie.LIFETIME_MS + 1).to_bytes(4))], "refused"),
        "older-key": ([(_C.FOREIGN, b"\0\0\1"), (_C.KEYS, b"\0\1")], "redeemed"),
        "forgotten-key": ([(_C.FOREIGN, b"\0\0\1"), (_C.KEYS, b"\0\2")], "refused"),
        "no-key": ([(_C.KEYS, b"")], "refused"),
        "changed": ([(_C.XOR, b"\0\0\1")], "refused"),
        "changed-mac": ([(_C.XOR, b"\xff\xff\1")], "refused"),
        "cut": ([(_C.CUT, b"\x1f")], "refused"),
        "empty": ([(_C.CUT, b"\0")], "refused"),
        "longer": ([(_C.APPEND, b"\0")], "refused"),
        "made-up": ([(_C.REPLACE, bytes(100))], "refused"),
        "other-hello": ([(_C.FOREIGN, b"\1")], "refused"),
        "other-connection": ([(_C.CONNECTION, b"\1")], "refused"),
        "own-connection": ([(_C.CONNECTION, b"\2"), (_C.FOREIGN, b"\0\2")], "redeemed"),
        "shorter-connection": ([(_C.CONNECTION, b"\4" + bytes(11))], "refused"),
    }
    for name, (script, outcome) in scripts.items():
        yield name, Seed(b"\0" + packed(script), outcome)
    for index in range(1, 6):
        yield f"right-{index}", Seed(bytes((index,)), "redeemed")


def _replies() -> Iterator[tuple[str, Seed]]:
    whole, rest = (_R.FINISHED, b""), (_R.APPLICATION, b"GET / HTTP/1.1\r\n\r\n")
    scripts: dict[str, tuple[int, list[tuple[int, bytes]], str]] = {
        "finished": (0, [whole], "established"),
        "finished-and-request": (1, [(_R.RAW, _CCS), whole, rest], "established"),
        "finished-in-pieces": (
            _CHACHA,
            [(_R.FINISHED, b"\1"), (_R.FINISHED, b"\5"), whole],
            "established",
        ),
        "behind-early-data": (
            _EARLY,
            [(_R.RAW, b"\x17\3\3\0\x14" + bytes(20)), (_R.UPDATED, b"\x14\x16")],
            "waiting",
        ),
        "finished-behind-early-data": (
            _EARLY,
            [(_R.RAW, b"\x17\3\3\0\x14" + bytes(20)), whole],
            "established",
        ),
        "too-much-early-data": (_EARLY, [(_R.JUNK, bytes(32))] * 2, "unexpected_early_data"),
        "junk": (0, [(_R.JUNK, bytes(32))], "bad_record_mac"),
        "ccs": (0, [(_R.RAW, _CCS), (_R.RAW, _CCS)], "waiting"),
        "ccs-inside": (0, [(_R.FINISHED, b"\1"), (_R.RAW, _CCS)], "unexpected_ccs"),
        "alert": (0, [(_R.RAW, b"\x15\3\3\0\2\2\x28")], "peer_alert"),
        "sealed-alert": (0, [(_R.SEALED, b"\1\0\x15")], "peer_alert"),
        "wrong-finished": (
            0,
            [(_R.SEALED, b"\x14\0\0\x20" + bytes(32) + b"\x16")],
            "bad_finished",
        ),
        "wrong-size": (0, [(_R.SEALED, b"\x14\0\0\x30" + b"\x16")], "bad_finished_size"),
        "key-update": (0, [(_R.SEALED, key_update(0) + b"\x16")], "unexpected_message"),
        "data": (0, [(_R.SEALED, b"data\x17")], "unexpected_record"),
        "no-type": (0, [(_R.SEALED, bytes(9))], "no_content_type"),
        "other-keys": (0, [(_R.UPDATED, b"data\x17")], "bad_record_mac"),
        "plain": (0, [(_R.RAW, b"\x16\3\3\0\x04\x14\0\0\0")], "unexpected_record"),
        "overflow": (0, [(_R.RAW, b"\x17\3\3\x41\x01")], "record_overflow"),
    }
    for name, (scenario, script, outcome) in scripts.items():
        yield name, Seed(bytes((scenario,)) + packed(script), outcome)


def _records() -> Iterator[tuple[str, Seed]]:
    data, close = (_E.DATA, b"data"), (_E.SEALED, b"\1\0\x15")
    scripts: dict[str, tuple[list[tuple[int, bytes]], str]] = {
        "data": ([data, (_E.SEALED, b"more\x17\0\0\0"), (_E.ANSWER, b"answer")], "open"),
        "empty": ([(_E.SEALED, b"\x17")] * 2, "open"),
        "empty-flood": ([(_E.SEALED, b"\x17")] * 33, "too_many_empty_records"),
        "key-update": ([(_E.KEY_UPDATE, b"\0"), data], "open"),
        "key-update-asked": ([(_E.KEY_UPDATE, b"\1"), data, (_E.ANSWER, b"answer")], "open"),
        "key-update-flood": ([(_E.KEY_UPDATE, b"\1")] * 33, "too_many_key_updates"),
        "key-update-in-pieces": (
            [(_E.SEALED, b"\x18\0\x16"), (_E.SEALED, b"\0\1\0\x16"), (_E.UPDATED, b"data\x17")],
            "open",
        ),
        "bad-key-update": ([(_E.KEY_UPDATE, b"\2")], "bad_key_update"),
        "long-key-update": ([(_E.SEALED, b"\x18\0\0\2\0\0\x16")], "bad_key_update_size"),
        "key-updates-in-one": ([(_E.SEALED, key_update(0) * 2 + b"\x16")], "not_aligned"),
        "bulk": ([(_E.KEY_UPDATE, b"\1"), (_E.BULK, bytes(50)), data], "open"),
        "long": ([(_E.LONG, b"\x17" * 32)], "open"),
        "too-long": ([(_E.LONG, b"\x17" * 33)], "record_overflow"),
        "unannounced-keys": ([(_E.UPDATED, b"data\x17")], "bad_record_mac"),
        "close": ([close, (_E.RAW, b"junk"), (_E.ANSWER, b"answer")], "closed"),
        "both-close": ([(_E.CLOSE, b""), data, close, (_E.ANSWER, b"answer")], "closed"),
        "user-canceled": ([(_E.SEALED, b"\1\x5a\x15"), close], "closed"),
        "alert": ([(_E.SEALED, b"\2\x28\x15")], "peer_alert"),
        "ticket": ([(_E.SEALED, b"\4\0\0\0\x16")], "unexpected_message"),
        "plain": ([(_E.RAW, b"\x17\3\3\0\x11" + bytes(17))], "bad_record_mac"),
        "ccs": ([(_E.RAW, _CCS)], "unexpected_record"),
        "split": ([(_E.RAW, b"\x17\3"), (_E.RAW, b"\3\0"), (_E.RAW, b"\x11")], "open"),
    }
    for name, (script, outcome) in scripts.items():
        yield name, Seed(b"\0" + packed(script), outcome)


def _capsules() -> Iterator[tuple[str, Seed]]:
    batch = b"\1\1" + offer_header(7, 3) + b"abc"
    in_memory = b"\1\2" + memory_offer_header(8, 0x10000)
    answers = encode_answers([1, 2], [(3, DenialReason.OVERLOADED)], 128)
    taken, denied = encode_answers([0], [], 0), encode_answers([1], [(0, DenialReason(2))], 1)
    yield "established", Seed(b"\0" + encode_context(ESTABLISHED), "context taken")
    yield "plain", Seed(b"\0" + encode_context(PLAIN), "context taken")
    yield "retried", Seed(b"\0" + encode_context(RETRIED), "context taken")
    yield "capsule", Seed(b"\1" + encode_capsule(Capsule(9, ESTABLISHED)), "capsule taken")
    yield "capsule-retried", Seed(b"\1" + encode_capsule(Capsule(0, RETRIED)), "capsule taken")
    yield "offers", Seed(b"\2" + batch, "offers taken")
    yield "offers-in-memory", Seed(b"\2" + in_memory, "offers taken")
    yield "answers", Seed(b"\3" + answers, "answers taken")
    yield "answers-newer", Seed(b"\3\3\0\1\0\0\0\7\x0f", "answers taken")
    yield (
        "sink",
        Seed(b"\4" + packed([(1, batch), (1, batch[:5] + b"\1" + batch[6:])]), "sink taken"),
    )
    yield "sink-violation", Seed(b"\4" + packed([(1, b"\1\1")]), "sink refused")
    yield "sink-no-memory-file", Seed(b"\4" + packed([(2, in_memory)]), "sink refused")
    yield "sink-fewer", Seed(b"\4" + packed([(0, batch)]), "sink refused")
    yield (
        "source",
        Seed(b"\5" + packed([(0, taken), (0, encode_answers([1], [], 2))]), "source taken"),
    )
    yield "source-denied", Seed(b"\5" + packed([(0, denied)]), "source taken")
    yield "source-violation", Seed(b"\5" + packed([(0, taken * 2)]), "source refused")


def _configs() -> Iterator[tuple[str, Seed]]:
    """What no person writes; ordinary files are files of the corpus."""
    lines = [
        f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join([f'*{chr(97 + at)}'] * 9)}]"
        for at in range(8)
    ]
    texts = {
        "bomb": "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *lines]),
        "nested": "[" * 40,
        "digits": "a: " + "9" * 3000,
        "version": "%YAML 1.9999999999\n--- a",
        "escape": 'a: "\\U00110000"',
        "surrogate": '"\\ud800": "\\ud800"',
        "tag": "a: !!python/object:os.system {}",
        "merge": "<<: {a: b}",
        "twice": "a: 1\na: 2",
        "documents": "--- a\n--- b\n",
        "recursive": "a: &a [*a]",
        "key": "? [a]\n: b",
        "blocks": "a: |\n  b\n  c\nd: >-\n  e\n",
        "separators": "a: \u2028b\n\x85c: \u2029",
        "empty": "",
    }
    for name, text in texts.items():
        yield name, Seed(text.encode(), "refused")
    # Every key there is, as the documented example has them.
    lines = (ROOT / "config" / "vestibule.yaml").read_text().splitlines()
    every = "\n".join(line for line in lines if line.strip() and line.lstrip()[0] != "#")
    for written, here in (("certs/example.org.crt", "pem"), ("certs/example.org.key", "key")):
        every = every.replace(written, f"example.org.{here}")
    yield "every-key", Seed(every.encode(), "loaded")
    yield "binary", Seed(bytes(range(256)), "refused")
    yield "mark", Seed(b"\xef\xbb\xbflisteners: []", "refused")


SEEDS: Final[Mapping[str, Mapping[str, Seed]]] = {
    "hello": dict(_hellos()),
    "second_hello": dict(_second_hellos()),
    "cookie": dict(_cookies()),
    "reply": dict(_replies()),
    "records": dict(_records()),
    "capsule": dict(_capsules()),
    "config": dict(_configs()),
}


def main() -> None:
    """Write every generated file."""
    for target, seeds in SEEDS.items():
        for name, seed in seeds.items():
            path = CORPUS / target / f"{name}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(seed.data)


if __name__ == "__main__":
    main()
