"""The targets' properties over inputs that hypothesis makes: scripts, hellos, cookies."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire import NamedGroup
from tests.fuzz import cookie, records, reply, second_hello
from tests.fuzz.cookie import CONNECTIONS, KEYS, LIFETIME_MS, Attempt, Issue, issued
from tests.fuzz.hello import hello
from tests.fuzz.mutation import change, mutator
from tests.fuzz.reading import read_client_hello, rebuilt
from tests.fuzz.scripts import packed, steps
from tests.fuzz.targets import TARGETS
from tests.tls.hello import Hello
from tests.tls.hello import hello as made_hello

SCRIPTED = {
    "second_hello": second_hello.Step,
    "cookie": cookie.Step,
    "reply": reply.Step,
    "records": records.Step,
}
HELLOS = (
    made_hello(),
    made_hello(shares=[], session_id=bytes(32)),
    made_hello(NamedGroup.X25519MLKEM768, NamedGroup.SECP256R1, alpn=[b"http/1.1"]),
    made_hello(shares=[], early_data=True, extra=[(45, b"\1\1")]),
)
WIRE = st.binary(max_size=60) | st.sampled_from([b"", b"\x14\3\3\0\1\1", b"\1\0\x15", b"\x17"])


def scripts(operations: Iterable[int]) -> st.SearchStrategy[list[tuple[int, bytes]]]:
    return st.lists(st.tuples(st.sampled_from(list(operations)), WIRE), max_size=12)


def scrambled(content: bytes, most: int) -> bytes:
    """Stands for libFuzzer's mutation."""
    return bytes(reversed(content))[:most] or b"\0"


@given(st.sampled_from(list(TARGETS)), st.binary(max_size=400))
def test_any_bytes(name: str, data: bytes) -> None:
    assert TARGETS[name](data)


@settings(max_examples=300)
@given(st.data())
def test_any_script(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(SCRIPTED)))
    script = packed(data.draw(scripts(SCRIPTED[name])))
    start = bytes((data.draw(st.integers(0, 255)),))
    if name == "second_hello":
        message = data.draw(st.sampled_from(HELLOS)).encode()
        start += len(message).to_bytes(2) + message
    assert TARGETS[name](start + script)


@given(scripts(range(256)))
def test_scripts_round_trip(script: list[tuple[int, bytes]]) -> None:
    assert list(steps(packed(script), 256)) == script


@given(st.sampled_from(HELLOS), st.randoms(use_true_random=False))
def test_changed_hellos(first: Hello, random: Random) -> None:
    message = rebuilt(change(read_client_hello(first.encode()), random, scrambled))
    assert hello(b"\x16\3\1" + len(message).to_bytes(2) + message)


@given(st.sampled_from(HELLOS))
def test_a_reading_loses_nothing(first: Hello) -> None:
    assert rebuilt(read_client_hello(first.encode())) == first.encode()


@given(st.sampled_from(["hello", "second_hello"]), st.binary(max_size=300), st.integers(0, 1 << 32))
def test_mutations_are_bounded_and_repeat(name: str, data: bytes, seed: int) -> None:
    mutate = mutator(name, scrambled)
    for most in (1, 100, 1 << 17):
        changed = mutate(data, most, seed)
        assert len(changed) <= most
        assert mutate(data, most, seed) == changed


# --- a second hello -----------------------------------------------------------------------------


@given(
    st.sampled_from(HELLOS),
    st.integers(0, 14),
    st.integers(0, 255),
    st.lists(st.integers(1, 200), max_size=4),
    st.booleans(),
)
def test_a_rightful_second_hello_is_answered(
    first: Hello, without: int, record_size: int, early: list[int], compatible: bool
) -> None:
    """Whatever comes between that may come, and however it is cut into records."""
    script = [(second_hello.Step.EARLY_DATA, bytes(size)) for size in early if first.early_data]
    if compatible:
        script.insert(len(script) // 2, (second_hello.Step.RAW, b"\x14\3\3\0\1\1"))
    script.append((second_hello.Step.RIGHT, bytes((record_size,))))
    message = first.encode()
    data = bytes((without,)) + len(message).to_bytes(2) + message + packed(script)
    assert second_hello.second_hello(data) == "answered"


# --- cookies ------------------------------------------------------------------------------------

ISSUES = st.builds(
    Issue,
    st.integers(0, 5),
    st.integers(0, len(CONNECTIONS) - 1),
    st.integers(0, len(KEYS) - 1),
    st.integers(0, 3).map(lambda tenths: tenths * 100),
)


@pytest.mark.requirement("A31")
@given(
    ISSUES,
    st.integers(0, 5),
    st.sampled_from(CONNECTIONS) | st.binary(max_size=40),
    st.lists(st.integers(0, len(KEYS) - 1), max_size=3),
    st.integers(0, 2 * LIFETIME_MS),
)
def test_a_cookie_redeems_for_whom_and_while_it_was_issued(
    issue: Issue, hello_index: int, connection: bytes, keys: list[int], later_ms: int
) -> None:
    attempt = Attempt(hello_index, issued(issue), connection, keys, issue.at_ms + later_ms)
    right = (
        hello_index == issue.hello
        and connection == CONNECTIONS[issue.connection]
        and issue.key in keys
        and later_ms <= LIFETIME_MS
    )
    assert attempt.redeems() is right


@pytest.mark.requirement("A31")
@given(ISSUES, st.data())
def test_no_other_cookie_redeems(issue: Issue, data: st.DataObject) -> None:
    right = issued(issue)
    start = data.draw(st.integers(0, len(right)))
    end = data.draw(st.integers(start, len(right)))
    other = right[:start] + data.draw(st.binary(max_size=end - start + 8)) + right[end:]
    connection = CONNECTIONS[issue.connection]
    attempt = Attempt(issue.hello, other, connection, list(range(len(KEYS))), issue.at_ms)
    assert attempt.redeems() is (other == right)
