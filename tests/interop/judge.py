"""The judge: where it is, what it runs, and what it says.

Owns running `tls_conformance.py` and reading its verdict. Rules: the judge's files are used as they
are; what is added stands in `scripts.yaml`; an answer that cannot be read is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["GROUPS", "Judge", "Missing", "Verdict"]

GROUPS = ("core13", "hrr", "alerts", "robustness", "keyupdate", "dos")
"""The judge's groups that hold something for TLS 1.3."""

_HERE = Path(__file__).parent
_DEFAULT_FOLDER = _HERE.parents[2] / "shared" / "conformance"
_CLIENT = _HERE / "client.py"
_OVERLAY = _HERE / "scripts.yaml"

_SCRIPT_LIMIT_S = 120
_GROUP_LIMIT_S = 900
# Scripts wait for the server most of the time.
_JOBS = 2

_STARTED = re.compile(r"(?:\"(.*)\" repeat \d+|(.*) )\.\.\.")


class Missing(Exception):
    """Something that the judge needs is not there; says what, and how to name it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one script."""

    script: str
    """Its id in the manifest."""
    status: str
    """PASS, FAIL, or why there is no list of conversations: CRASH, TIMEOUT, DOWN."""
    passed: frozenset[str]
    """Conversations that never failed, as far as the script names them."""
    failed: frozenset[str]
    """Conversations that failed, those that the judge excuses left out."""
    counts: tuple[int, int]
    """How many conversations passed, of how many that count."""
    detail: str = ""
    """The end of its output where it did not get to its end."""


@dataclass(frozen=True, slots=True)
class Judge:
    """All that is needed to run it."""

    suite: Path
    python: Path
    folder: Path

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Judge:
        """Take what the environment names. Raises Missing."""
        folder = Path(environment.get("VESTIBULE_JUDGE", _DEFAULT_FOLDER)).absolute()
        judge = cls(
            _named(environment, "VESTIBULE_TLSFUZZER", "a checkout of tlsfuzzer"),
            _named(environment, "VESTIBULE_TLSFUZZER_PYTHON", "a Python with tlslite-ng"),
            folder,
        )
        for path in (judge.suite / "scripts", judge.python, folder / "tls_conformance.py"):
            if not path.exists():
                raise Missing(f"not there: {path}")
        return judge

    def manifest(self) -> dict[str, Any]:
        """The judge's entries for our groups, with our arguments and our scripts."""
        own = [json.loads(path.read_text()) for path in sorted(self.folder.glob("manifest*.json"))]
        overlay = yaml.safe_load(_OVERLAY.read_text())
        arguments: dict[str, list[str]] = overlay["arguments"]
        entries = {
            entry["id"]: {**entry, "args": entry.get("args", []) + arguments.get(entry["id"], [])}
            for manifest in own
            for entry in manifest["entries"]
            if entry["group"] in GROUPS
        }
        if unknown := arguments.keys() - entries.keys():
            raise ValueError(f"{_OVERLAY.name}: arguments for what is not there: {unknown}")
        for group, scripts in overlay["scripts"].items():
            for name, words in scripts.items():
                if name in entries:
                    raise ValueError(f"{_OVERLAY.name}: the judge has {name} itself")
                script = f"test-{name.partition('+')[0]}.py"
                entries[name] = {"id": name, "group": group, "script": script, "args": words}
        return {"entries": list(entries.values())}

    def run(
        self, directory: Path, port: int, *, group: str, abilities: tuple[str, ...]
    ) -> list[Verdict]:
        """Run a group against localhost:`port`; `client.py` knows the abilities."""
        manifest, answers, logs = (
            directory / name for name in ("manifest.json", "out.json", "logs")
        )
        manifest.write_text(json.dumps(self.manifest()))
        command = [sys.executable, str(self.folder / "tls_conformance.py")]
        command += ["--port", str(port), "--suite", str(self.suite)]
        command += ["--python", str(self._clients(directory, abilities))]
        command += ["--manifest", str(manifest), "--group", group, "--have", "alpn"]
        command += ["--jobs", str(_JOBS), "--timeout", str(_SCRIPT_LIMIT_S)]
        command += ["--json", str(answers), "--logs", str(logs)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GROUP_LIMIT_S)
        # 1 says that something failed, which skips.yaml may know.
        if done.returncode not in (0, 1) or not answers.exists():
            raise RuntimeError(f"the judge gave up: {done.stdout}{done.stderr}")
        results = json.loads(answers.read_text())["results"]
        known = {one["id"]: list(one.get("known", ())) for one in self.manifest()["entries"]}
        return [_verdict(result, logs, known[result["id"]]) for result in results]

    def _clients(self, directory: Path, abilities: tuple[str, ...]) -> Path:
        """What stands in for the judge's Python; it is called with -u and the judge's launcher."""
        wrapper = directory / "python"
        words = shlex.join([str(self.python), "-u", str(_CLIENT), ",".join(abilities)])
        wrapper.write_text(f'#!/bin/sh\nshift\nexec {words} "$@"\n')
        wrapper.chmod(0o700)
        return wrapper


def _named(environment: Mapping[str, str], variable: str, what: str) -> Path:
    if not (value := environment.get(variable)):
        raise Missing(f"{variable} has to name {what}: see tests/interop/__init__.py")
    # Not resolved: a virtual environment's python is a link out of it.
    return Path(value).absolute()


def _verdict(result: Mapping[str, Any], logs: Path, known: list[str]) -> Verdict:
    log = logs / f"{result['id']}.log"
    if "details" in result:
        # One of the judge's own checks: it says "name: detail" of what failed.
        names = set(result["details"])
        failed = {name for name in names if _is_told(name, result["failed"])}
    else:
        names = _started(log.read_text(errors="replace")) if log.exists() else set()
        failed = set(result["failed"])
    passed = {
        name for name in names - failed if not any(re.fullmatch(pattern, name) for pattern in known)
    }
    return Verdict(
        result["id"],
        result["status"],
        frozenset(passed),
        frozenset(failed),
        (result["passed"], result["total"]),
        result.get("tail", ""),
    )


def _is_told(name: str, lines: list[str]) -> bool:
    return any(line.startswith(f"{name}: ") for line in lines)


def _started(log: str) -> set[str]:
    """The conversations that a script's output names."""
    matches = map(_STARTED.fullmatch, log.splitlines())
    return {match[1] or match[2] for match in matches if match is not None}
