"""The corpus through the targets, whole, cut and changed; and the targets under atheris."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.clients import CLIENTS, Client
from tests.fuzz.harness import CORPUS, NAMES, ROOT
from tests.fuzz.seed import SEEDS
from tests.fuzz.targets import TARGETS

FILES = [path for target in TARGETS for path in sorted((CORPUS / target).iterdir())]
EACH_FILE = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}"
)

# How a client's recording ends where its name does not say so itself.
RECORDED = {
    "hello": {"answered"},
    "second_hello": {"answered"},
    "reply": {"established"},
    "records": {"open", "closed"},
}
# Java makes new key shares where a retry asks for none, which RFC 8446, Section 4.1.2, forbids.
EXCEPTIONS = {"java-17.0.15-kept": "hello_changed"}
LOADING = {"minimal.yaml", "tcp.yaml"}
LARGEST_SEED = 4096
# A configuration costs a hundred times what a hello does.
CHANGES = {"config": 5}


@EACH_FILE
def test_whole(path: Path) -> None:
    target, name = path.parent.name, path.stem
    data = path.read_bytes()
    assert len(data) <= LARGEST_SEED
    outcome = TARGETS[target](data)
    if name in SEEDS[target]:
        assert outcome == SEEDS[target][name].outcome
    elif target == "config":
        assert outcome == ("loaded" if path.name in LOADING else "refused")
    else:
        assert outcome in ({EXCEPTIONS[name]} if name in EXCEPTIONS else RECORDED[target])


@EACH_FILE
def test_cut_and_changed(path: Path) -> None:
    data, target = path.read_bytes(), TARGETS[path.parent.name]
    step = max(1, len(data) // CHANGES.get(path.parent.name, 40))
    for index in range(0, len(data), step):
        target(data[:index])
        target(data[:index] + bytes((data[index] ^ 0xFF,)) + data[index + 1 :])


def test_every_generated_seed_is_there() -> None:
    for target, seeds in SEEDS.items():
        names = {path.stem for path in (CORPUS / target).iterdir()}
        assert seeds.keys() <= names, "write them by python -m tests.fuzz.seed"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_was_recorded(client: Client) -> None:
    for target in RECORDED:
        found = [path for path in FILES if path.stem.startswith(f"{client.name}-")]
        assert any(path.parent.name == target for path in found)


def test_names_are_the_targets() -> None:
    assert tuple(TARGETS) == NAMES
    assert SEEDS.keys() == set(NAMES)
    for name, target in TARGETS.items():
        assert target.__name__ == name
        assert target.__module__ == f"tests.fuzz.{name}"


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is optional")
@pytest.mark.parametrize("target", NAMES)
def test_harness(target: str, tmp_path: Path) -> None:
    before = sorted(CORPUS.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.harness", target, "-runs=300", "-seed=1"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Done 3\d\d runs", done.stderr)  # the whole corpus at least
    assert sorted(CORPUS.rglob("*")) == before
