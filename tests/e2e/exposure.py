"""What a process has been given, as root sees it: all that it can read, and what it has open.

Rule: a search that finds nothing proves something only where the same search finds the same thing
in a process that has it; tests use it in pairs.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

__all__ = ["descriptors", "found_in", "key_forms", "mapped_files", "traffic_secrets"]

_CHUNK_BYTES = 16 << 20
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
_KERNELS_OWN = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})
_SOCKET_TYPES = {"0001": "stream", "0005": "seqpacket"}
_LISTENS = "0A"


def key_forms(name: str, pem: bytes) -> dict[str, bytes]:
    """Every form in which a private key may lie in memory, by what to call it."""
    key = load_pem_private_key(pem, None)
    body = b"".join(pem.splitlines()[1:-1])
    forms = {
        "PEM": pem,
        "PEM without line ends": body,
        "PEM in base64": base64.b64encode(pem),
        "PKCS #8": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "traditional": key.private_bytes(
            Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ),
    }
    for label, number in _secret_numbers(key):
        size = (number.bit_length() + 7) // 8
        forms[f"{label}, big endian"] = number.to_bytes(size, "big")
        forms[f"{label}, little endian"] = number.to_bytes(size, "little")
    return {f"{name}: {label}": form for label, form in forms.items()}


def _secret_numbers(key: object) -> Iterator[tuple[str, int]]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        yield "d", key.private_numbers().private_value
    elif isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        for label in ("p", "q", "d", "dmp1", "dmq1", "iqmp"):
            yield label, int(getattr(numbers, label))
    else:
        raise TypeError(f"no private key: {key!r}")


def traffic_secrets(key_log: Path) -> dict[str, bytes]:
    """The secrets that a client has written down (NSS key log format), numbered by connection."""
    found: dict[str, bytes] = {}
    for line in key_log.read_text().splitlines():
        if line.startswith("#"):
            continue
        label, random, secret = line.split()
        found[f"{label} of {random[:8]}"] = bytes.fromhex(secret)
    return found


def found_in(pid: int, needles: Mapping[str, bytes]) -> set[str]:
    """Names of what occurs in the memory of a process, which stands still meanwhile.

    Raises PermissionError.
    """
    found: set[str] = set()
    overlap = max(map(len, needles.values())) - 1
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    os.kill(pid, signal.SIGSTOP)
    try:
        for start, end in _readable(pid):
            for at in range(start, end, _CHUNK_BYTES):
                size = min(_CHUNK_BYTES + overlap, end - at)
                content = os.pread(memory, size, at)
                assert len(content) == size
                found.update(name for name, one in needles.items() if one in content)
    finally:
        os.kill(pid, signal.SIGCONT)
        os.close(memory)
    return found


def _readable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _MAPPING.fullmatch(line)
        assert match is not None, line
        start, end, access, what = match.groups()
        if access.startswith("r") and what not in _KERNELS_OWN:
            yield int(start, 16), int(end, 16)


def mapped_files(pid: int) -> set[Path]:
    """Files that are mapped into a process."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    names = (match[4] for match in map(_MAPPING.fullmatch, lines) if match is not None)
    return {Path(name) for name in names if name.startswith("/")}


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, each as its path, or its kind where it has none."""
    kinds = _sockets(pid)
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(entry.readlink())
            found[kinds.get(target) or re.sub(r"^(pipe|socket):\[\d+\]$", r"\1", target)] += 1
    return found


def _sockets(pid: int) -> dict[str, str]:
    """The kinds of the sockets that a process can see, by what /proc calls them."""
    found = {}
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        found[f"socket:[{fields[6]}]"] = f"unix {_SOCKET_TYPES.get(fields[4], fields[4])}"
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16)
            state = f"listening on {port}" if fields[3] == _LISTENS else "connected"
            found[f"socket:[{fields[9]}]"] = f"tcp {state}"
    return found
