"""What the judge's clients do beside what the scripts say: offer ECDSA, answer HelloRetryRequest.

    python client.py ABILITIES LAUNCHER SUITE SCRIPT ...

Runs in the judge's Python, in front of the judge's own launcher, which gets all that follows.
ABILITIES are words joined by commas:

    ecdsa         hellos offer ECDSA with P-256 in place of RSASSA-PSS with SHA-256
    may-retry     a HelloRetryRequest is answered with a second hello, as any client does
    must-retry    the same, and a ServerHello without one before it is a failure

Most scripts were written for a server with an RSA key that answers the first hello at once. This
changes neither what they send to break a server nor what they expect of it afterwards. Rules: a
second hello is the first one's repetition, made by the same generator with the same faults, but
for what RFC 8446, Section 4.1.2, has it change; a script that expects a HelloRetryRequest itself
is left alone.
"""

from __future__ import annotations

import copy
import importlib
import runpy
import sys
from collections.abc import Callable, Iterator
from typing import Any

# tlsfuzzer and tlslite-ng are there only where this runs, and have no types.
Node = Any
State = Any


class Suite:
    """The modules of the checkout; importable once its folder is on the path."""

    def __init__(self) -> None:
        self.constants: Any = importlib.import_module("tlslite.constants")
        self.tls: Any = importlib.import_module("tlslite.messages")
        self.messages: Any = importlib.import_module("tlsfuzzer.messages")
        self.expect: Any = importlib.import_module("tlsfuzzer.expect")
        self.runner: Any = importlib.import_module("tlsfuzzer.runner")

    def is_hello(self, node: Node) -> bool:
        """Whether a node makes a ClientHello."""
        return isinstance(node, self.messages.ClientHelloGenerator)

    def may_be_retried(self, node: Node) -> bool:
        """Whether a node makes a ClientHello that TLS 1.3 may answer."""
        versions = self.constants.ExtensionType.supported_versions
        return self.is_hello(node) and not node.ssl2 and versions in (node.extensions or ())


def offer_ecdsa(suite: Suite) -> None:
    """Let every hello that offers no ECDSA with P-256 offer it in place of an RSA scheme.

    In place, because scripts break extensions at a distance from the end, and fill hellos up.
    """
    kinds = suite.constants.ExtensionType
    schemes = suite.constants.SignatureScheme
    generator = suite.messages.ClientHelloGenerator
    plain = generator._generate_extensions

    def generate(hello: Node, state: State) -> list[Any]:
        extensions: list[Any] = plain(hello, state)
        for extension in extensions:
            if extension.extType in (kinds.signature_algorithms, kinds.signature_algorithms_cert):
                offered = getattr(extension, "sigalgs", None) or []
                if schemes.ecdsa_secp256r1_sha256 not in offered:
                    offered[:] = [
                        schemes.ecdsa_secp256r1_sha256
                        if scheme == schemes.rsa_pss_rsae_sha256
                        else scheme
                        for scheme in offered
                    ]
        return extensions

    generator._generate_extensions = generate


def answer_retries(suite: Suite, *, always: bool) -> None:
    """Let every conversation that does not expect a HelloRetryRequest take one in its stride."""
    runner = suite.runner.Runner
    plain = runner.__init__

    def initialise(self: Any, conversation: Node) -> None:
        _expect_retries(suite, conversation, always=always)
        plain(self, conversation)

    runner.__init__ = initialise


def _expect_retries(suite: Suite, conversation: Node, *, always: bool) -> None:
    nodes = list(_reachable(conversation))
    second = [
        _next(node.child, suite.is_hello)
        for node in nodes
        if isinstance(node, suite.expect.ExpectHelloRetryRequest)
    ]
    for node in nodes:
        if suite.may_be_retried(node) and not any(node is one for one in second):
            _expect_retry(suite, node, always=always)


def _expect_retry(suite: Suite, hello: Node, *, always: bool) -> None:
    """Put HelloRetryRequest and second hello behind a first one and what is sent with it."""
    last = _next(hello, lambda node: node.child is None or node.child.is_expect())
    if (
        last is None
        or last.child is None
        or isinstance(last.child, suite.expect.ExpectHelloRetryRequest)
    ):
        return
    outcomes = list(last.child.get_all_siblings())
    again = _second_hello(suite, hello)
    again.child = _either([_without_ccs(suite, one) for one in outcomes])
    retry = suite.expect.ExpectHelloRetryRequest()
    is_server_hello: Callable[[Any], bool] = retry.is_match
    retry.is_match = lambda message: (
        is_server_hello(message) and message.write()[6:38] == suite.constants.TLS_1_3_HRR
    )
    if hello.session_id is None or hello.session_id:
        # RFC 8446, Appendix D.4: change_cipher_spec comes behind the server's first message.
        retry.child = suite.expect.ExpectChangeCipherSpec()
        retry.child.child = again
    else:
        retry.child = again
    if always:
        flight = suite.expect.ExpectServerHello
        outcomes = [one for one in outcomes if not isinstance(one, flight)]
    last.child = _either([retry, *map(copy.copy, outcomes)])


def _second_hello(suite: Suite, hello: Node) -> Node:
    """A node that sends the first hello again, with what the HelloRetryRequest asks for."""
    make_extensions = hello._generate_extensions
    made: list[Any] = []
    is_second = False

    def extensions(state: State) -> list[Any]:
        if is_second:
            return _second_extensions(suite, made, state)
        # Kept, because making them anew would draw new key shares.
        made[:] = make_extensions(state)
        return list(made)

    def generate(state: State) -> Any:
        nonlocal is_second
        is_second = True
        try:
            return hello.generate(state)
        finally:
            is_second = False

    hello._generate_extensions = extensions
    again = suite.messages.ClientHelloGenerator()
    again.generate = generate
    again.post_send = hello.post_send
    return again


def _second_extensions(suite: Suite, first: list[Any], state: State) -> list[Any]:
    """RFC 8446, Section 4.1.2: with the cookie and the share asked for, without early_data."""
    kinds = suite.constants.ExtensionType
    request = state.get_last_message_of_type(suite.tls.ServerHello)
    cookie = request.getExtension(kinds.cookie)
    # In front: where a script breaks an extension by its distance from the end, it still does,
    # and pre_shared_key stays the last.
    second = [] if cookie is None else [cookie]
    for extension in first:
        if extension.extType == kinds.early_data:
            continue
        if extension.extType == kinds.key_share and request.getExtension(kinds.key_share):
            second.append(suite.messages.ch_key_share_handler(state))
        else:
            second.append(extension)
    return second


def _without_ccs(suite: Suite, outcome: Node) -> Node:
    """The same, but a ServerHello has its change_cipher_spec behind it already."""
    changed = copy.copy(outcome)
    if not isinstance(outcome, suite.expect.ExpectServerHello):
        return changed
    last, following = changed, outcome.child
    while following is not None and following.is_command():
        last.child = copy.copy(following)
        last, following = last.child, following.child
    if isinstance(following, suite.expect.ExpectChangeCipherSpec) and not following.next_sibling:
        last.child = following.child
    return changed


def _either(nodes: list[Node]) -> Node:
    """The first of alternatives that are each other's siblings in this order."""
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        node.next_sibling = following
    return nodes[0]


def _next(node: Node, wanted: Callable[[Node], bool]) -> Node:
    """The first node from here on that fits; None where the way ends or goes round first."""
    passed: set[int] = set()
    while node is not None and id(node) not in passed:
        if wanted(node):
            return node
        passed.add(id(node))
        node = node.child
    return None


def _reachable(conversation: Node) -> Iterator[Node]:
    """Every node once; conversations have cycles where a message may come any number of times."""
    waiting = [conversation]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting += [node.next_sibling, node.child]


def main() -> None:
    """Change the clients, then start the judge's launcher."""
    abilities, launcher, suite_folder = sys.argv[1:4]
    sys.path.insert(0, suite_folder)
    suite = Suite()
    for ability in filter(None, abilities.split(",")):
        match ability:
            case "ecdsa":
                offer_ecdsa(suite)
            case "may-retry" | "must-retry":
                answer_retries(suite, always=ability == "must-retry")
            case _:
                raise SystemExit(f"no such ability: {ability}")
    sys.argv = [launcher, *sys.argv[3:]]
    runpy.run_path(launcher, run_name="__main__")


if __name__ == "__main__":
    main()
