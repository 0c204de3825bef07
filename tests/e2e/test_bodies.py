"""Large bodies arrive as they were sent, both ways, and pass through without being kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Authority, Backend, Report
from tests.e2e.deployment import LIMIT_S, Vestibule

pytestmark = pytest.mark.requirement("A41", "A42")

SIZE = 200_000_000
_PIECE = 1 << 20


@pytest.fixture(scope="module")
def body(backend: Backend) -> Iterator[Path]:
    """A file of random bytes below nginx's root."""
    path = backend.root / "body"
    with path.open("wb") as file:
        for start in range(0, SIZE, _PIECE):
            file.write(os.urandom(min(_PIECE, SIZE - start)))
    yield path
    path.unlink()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def most_memory(vestibule: Vestibule) -> float:
    """Resident bytes of the largest worker."""
    found = vestibule.metrics().by("vestibule_process_resident_memory_bytes", "role", "slot")
    return max(size for (role, _), size in found.items() if role == "worker")


def transfer(authority: Authority, *options: str) -> float:
    """Run curl; how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--cacert", str(authority.file), *options],
        capture_output=True,
        timeout=4 * LIMIT_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    return time.monotonic() - began


def test_a_download(
    tmp_path: Path, vestibule: Vestibule, authority: Authority, body: Path, report: Report
) -> None:
    before = most_memory(vestibule)
    took_s = transfer(authority, "--output", str(tmp_path / "got"), f"{vestibule.url}/body")
    assert (tmp_path / "got").stat().st_size == SIZE
    assert digest(tmp_path / "got") == digest(body)
    (tmp_path / "got").unlink()
    assert most_memory(vestibule) - before < SIZE / 10
    report("download", megabytes=SIZE / 1e6, seconds=round(took_s, 2))


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_an_upload(
    vestibule: Vestibule,
    authority: Authority,
    backend: Backend,
    body: Path,
    framing: str,
    report: Report,
) -> None:
    before = most_memory(vestibule)
    options = ["--header", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    url = f"{vestibule.url}/upload/{framing}"
    took_s = transfer(authority, "--upload-file", str(body), *options, url)
    stored = backend.uploads / framing
    assert stored.stat().st_size == SIZE
    assert digest(stored) == digest(body)
    stored.unlink()
    assert most_memory(vestibule) - before < SIZE / 10
    report(f"upload, {framing}", megabytes=SIZE / 1e6, seconds=round(took_s, 2))


def test_a_slow_reader_holds_the_sender_back(
    vestibule: Vestibule, authority: Authority, body: Path
) -> None:
    before = most = most_memory(vestibule)
    command = ["curl", "--silent", "--fail", "--cacert", str(authority.file), "--limit-rate"]
    command += ["100M", "--output", "/dev/null", f"{vestibule.url}/{body.name}"]
    with subprocess.Popen(command) as curl:
        while curl.poll() is None:  # each look takes a scrape's time
            most = max(most, most_memory(vestibule))
    assert curl.returncode == 0
    assert most - before < SIZE / 10
