"""`python -m tests.fuzz.record [DIRECTORY]`: what real clients send, as seeds.

Each installed client fetches a page from the engine behind a plain socket, three times: answered
at once; after a HelloRetryRequest for another group (`asked`); after one that brings only the
cookie (`kept`). Hellos are stored as they came. A second hello's cookie depends on a key, so it is
stored with the placeholder of `second_hello.py` and behind its first hello. A reply is sealed with
secrets of its own connection and would open nowhere else, so what is stored is its structure: the
plaintext records as they came, which pieces Finished came in, and the inner plaintexts behind it.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Final

from proxy.tls import (
    Connection,
    Established,
    Flight,
    HelloReader,
    NeedMore,
    TlsError,
    WholeHello,
    answer,
    finish,
    plan_retry,
    redeem,
    retry,
)
from proxy.tls.defaults import GROUPS
from proxy.tls.half_open import HalfOpen
from proxy.tls.protection import Opener
from proxy.tls.suites import PARAMETERS
from proxy.wire import CipherSuite, ClientHello, ContentType
from tests.fuzz import reading as rfc
from tests.fuzz import records, reply, second_hello
from tests.fuzz.clients import CLIENTS, REQUEST, Client
from tests.fuzz.harness import CORPUS
from tests.fuzz.hello import ENTROPY
from tests.fuzz.rules import CONNECTION, COOKIE_KEY, ISSUED_AT
from tests.fuzz.scripts import packed
from tests.tls.material import policy

__all__ = ["MODES", "Recorder", "Recording", "main", "record"]

MODES: Final = ("direct", "asked", "kept")
_PAGE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
_LONGEST_SEED: Final = 4096
_CLIENT_S, _SILENCE_S = 30.0, 3.0
_SUITES: Final = tuple(CipherSuite)


@dataclass(slots=True)
class Recording:
    """One connection's bytes and structure, as far as it came."""

    hello: bytes = b""
    without: int = 0
    """Groups of ours that were out of use, a bit each."""
    first: bytes = b""
    between: list[tuple[int, bytes]] = field(default_factory=list)
    second: bytes = b""
    suite: int = 0
    reply: list[tuple[int, bytes]] = field(default_factory=list)
    records: list[tuple[int, bytes]] = field(default_factory=list)
    ended: str = ""
    """What the connection ended by, empty: both closed."""

    def seeds(self, mode: str) -> Iterator[tuple[str, bytes]]:
        """Target and input of each seed in here."""
        if mode == "direct":
            yield "hello", self.hello
            if self.reply:
                yield "reply", bytes((self.suite,)) + packed(self.reply)
            if self.records:
                yield "records", bytes((self.suite,)) + packed(self.records)
        elif self.second:
            start = bytes((self.without,)) + len(self.first).to_bytes(2) + self.first
            step = (second_hello.Step.MESSAGE, self.second)
            yield "second_hello", start + packed([*self.between, step])


class Recorder:
    """A server on one port that answers every connection in one mode."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.recordings: list[Recording] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Take connections until the listener is shut down."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            recording = Recording()
            with connection:
                connection.settimeout(_SILENCE_S)
                try:
                    self._serve(connection, recording)
                except (TlsError, OSError, EOFError) as error:
                    recording.ended = f"{type(error).__name__} {error}"
            if recording.hello:
                self.recordings.append(recording)

    def close(self) -> None:
        """End `serve`."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, connection: socket.socket, recording: Recording) -> None:
        first = _whole(connection, HelloReader(), recording, "hello")
        recording.first = first.message
        decoded = ClientHello.decode(first.message)
        ours = policy(alpn=(b"http/1.1",))
        if self.mode == "direct":
            flight = answer(decoded, ours, ENTROPY)
        else:
            recording.without = self._without(decoded)
            groups = [g for bit, g in enumerate(GROUPS) if not recording.without >> bit & 1]
            needed = plan_retry(decoded, policy(alpn=(b"http/1.1",), groups=groups))
            asked = retry(decoded, needed.suite, needed.group, COOKIE_KEY, CONNECTION, ISSUED_AT)
            connection.sendall(asked)
            second = _whole(connection, HelloReader(second=True), recording, "between")
            recording.second = _with_placeholder(second.message)
            retried = redeem(
                ClientHello.decode(second.message),
                second.unread,
                (COOKIE_KEY,),
                CONNECTION,
                ISSUED_AT + 1,
            )
            flight = answer(retried, ours, ENTROPY)
        assert isinstance(flight, Flight), "the client has no share that we take"
        connection.sendall(flight.data)
        established = _finished(connection, flight.half_open, recording)
        _talk(connection, established, recording)

    def _without(self, decoded: ClientHello) -> int:
        """For `asked` all groups that the client sent a share for, for `kept` all others."""
        shares = {share.group for share in decoded.key_shares or ()}
        asked = self.mode == "asked"
        return sum((group in shares) is asked and 1 << bit for bit, group in enumerate(GROUPS))


def _whole(
    connection: socket.socket, reader: HelloReader, recording: Recording, kind: str
) -> WholeHello:
    """Read until a hello is whole; what came goes into the recording."""
    came = b""
    while True:
        data = connection.recv(65536)
        if not data:
            raise EOFError("closed before its hello")
        came += data
        whole = reader.receive(data)
        if whole is None:
            continue
        if kind == "hello":
            recording.hello = came
        elif came.startswith(b"\x14"):
            recording.between = [(second_hello.Step.RAW, came[:6])]
        return whole


def _with_placeholder(message: bytes) -> bytes:
    hello = rfc.read_client_hello(message)
    content = len(second_hello.PLACEHOLDER).to_bytes(2) + second_hello.PLACEHOLDER
    hello.extensions = [
        (number, content if number == rfc.COOKIE else old) for number, old in hello.extensions
    ]
    return rfc.rebuilt(hello)


def _finished(connection: socket.socket, half_open: bytes, recording: Recording) -> Established:
    """Read the reply; its structure goes into the recording."""
    state = HalfOpen.unpack(half_open)
    opener = Opener(state.parameters, state.client_secret())
    recording.suite = _SUITES.index(state.parameters.suite)
    kept, seen = b"", b""
    while True:
        data = connection.recv(65536)
        if not data:
            raise EOFError("closed before its Finished")
        kept, seen = kept + data, seen + data
        result = finish(half_open, kept)
        if isinstance(result, Established):
            for header, fragment in _records(seen[: len(seen) - len(result.unread)]):
                if header[0] != 23:
                    recording.reply.append((reply.Step.RAW, header + fragment))
                else:
                    _, piece = opener.open(header, fragment)
                    recording.reply.append((reply.Step.FINISHED, bytes((len(piece),))))
            return result
        assert isinstance(result, NeedMore)
        half_open, kept = result.half_open, kept[result.consumed :]


def _talk(connection: socket.socket, established: Established, recording: Recording) -> None:
    """Answer the request and close; the inner plaintexts that came go into the recording."""
    engine = Connection(established)
    opener = Opener(PARAMETERS[established.suite], established.read_secret.reveal())
    came, asked = established.unread, b""
    while True:
        for header, fragment in _records(came):
            kind, content = opener.open(header, fragment)
            came = came[5 + len(fragment) :]
            recording.records.append((records.Step.SEALED, content + bytes((kind,))))
            if kind == ContentType.ALERT:
                return
            if not asked:
                recording.reply.append((reply.Step.APPLICATION, content))
            asked += content
            if asked.endswith(b"\r\n\r\n"):
                connection.sendall(engine.send(_PAGE) + engine.close())
        data = connection.recv(65536)
        if not data:
            return
        came += data


def _records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and fragments of those that are whole."""
    found = []
    while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5]):
        end = 5 + int.from_bytes(data[3:5])
        found.append((data[:5], data[5:end]))
        data = data[end:]
    return found


@contextmanager
def _serving(recorder: Recorder) -> Iterator[None]:
    thread = Thread(target=recorder.serve)
    thread.start()
    try:
        yield
    finally:
        recorder.close()
        thread.join()


def record(client: Client, mode: str) -> Recording | None:
    """Run a client once; of its connections the one that came furthest."""
    recorder = Recorder(mode)
    with tempfile.TemporaryDirectory(prefix="vestibule-record-") as name, _serving(recorder):
        directory = Path(name)
        process = subprocess.Popen(
            client.command(directory, recorder.port),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.communicate(REQUEST, timeout=_CLIENT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return max(
        recorder.recordings, key=lambda one: (len(one.records), len(one.second)), default=None
    )


def main(arguments: list[str] | None = None) -> None:
    """Record every installed client and write its seeds."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.record", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=CORPUS)
    chosen = parser.parse_args(arguments)
    for client in CLIENTS:
        if not client.installed:
            sys.stdout.write(f"{client.name}: {client.program} is not installed\n")
            continue
        name = f"{client.name}-{client.version()}"
        for mode in MODES:
            found = record(client, mode)
            said = "no hello came" if found is None else found.ended or "whole"
            sys.stdout.write(f"{name} {mode}: {said}\n")
            for target, data in () if found is None else found.seeds(mode):
                file = name if mode == "direct" else f"{name}-{mode}"
                path = chosen.directory / target / f"{file}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                if len(data) <= _LONGEST_SEED:
                    path.write_bytes(data)
                    sys.stdout.write(f"    {path} {len(data)} bytes\n")
                else:
                    sys.stdout.write(f"    {path} left out: {len(data)} bytes\n")


if __name__ == "__main__":
    main()
