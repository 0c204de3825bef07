"""The judge is found, told what to run, and its verdict is read; a stand-in plays its part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.interop.judge import Judge, Missing

_SCRIPTS = yaml.safe_load(Path(__file__).with_name("scripts.yaml").read_text())

# Writes down how it was called, and answers like the judge.
_STAND_IN = """
import json, pathlib, sys
def after(option):
    return sys.argv[sys.argv.index(option) + 1]
(pathlib.Path(__file__).parent / "called.json").write_text(json.dumps(sys.argv[1:]))
logs = pathlib.Path(after("--logs"))
logs.mkdir()
(logs / "tls13-hrr.log").write_text(
    'sanity ...\\nOK\\n\\na name, and more ...\\nOK\\n\\nexcused ...\\nOK\\n\\n'
    '"again and again" repeat 0...\\nOK\\n\\nbroken ...\\nError while processing\\n'
)
empty = {"group": "hrr", "known": 0, "tail": ""}
pathlib.Path(after("--json")).write_text(json.dumps({"results": [
    {**empty, "id": "tls13-hrr", "status": "FAIL", "total": 5, "passed": 4, "failed": ["broken"]},
    {**empty, "id": "builtin", "status": "FAIL", "total": 2, "passed": 1,
     "failed": ["one: late"], "details": {"one": "late", "other": "in time"}},
    {**empty, "id": "lost", "status": "CRASH", "total": 0, "passed": 0, "failed": [],
     "tail": "no module named tlslite"},
]}))
sys.exit(int(after("--port")))
"""


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    suite, folder = tmp_path / "suite", tmp_path / "judge"
    (suite / "scripts").mkdir(parents=True)
    folder.mkdir()
    python = tmp_path / "python"
    python.touch()
    (folder / "tls_conformance.py").write_text(_STAND_IN)
    entries = [
        {"id": name, "group": "hrr", "script": f"test-{name}.py", "args": ["-n", "3"]}
        for name in _SCRIPTS["arguments"]
    ]
    entries[0]["known"] = {"excused": "by the judge"}
    entries += [
        {"id": "builtin", "group": "hrr", "builtin": "check"},
        {"id": "lost", "group": "hrr", "script": "test-lost.py"},
        {"id": "chacha20", "group": "core12", "script": "test-chacha20.py"},
    ]
    (folder / "manifest_open.json").write_text(json.dumps({"entries": entries}))
    environment = {
        "VESTIBULE_TLSFUZZER": str(suite),
        "VESTIBULE_TLSFUZZER_PYTHON": str(python),
        "VESTIBULE_JUDGE": str(folder),
    }
    return Judge.find(environment)


def test_what_is_missing_is_named(judge: Judge, tmp_path: Path) -> None:
    named = {
        "VESTIBULE_TLSFUZZER": str(judge.suite),
        "VESTIBULE_TLSFUZZER_PYTHON": str(judge.python),
        "VESTIBULE_JUDGE": str(judge.folder),
    }
    assert Judge.find(named) == judge
    for variable in ("VESTIBULE_TLSFUZZER", "VESTIBULE_TLSFUZZER_PYTHON"):
        with pytest.raises(Missing, match=f"{variable} has to name"):
            Judge.find({**named, variable: ""})
    for variable in named:
        with pytest.raises(Missing, match=r"not there: .*nowhere"):
            Judge.find({**named, variable: str(tmp_path / "nowhere")})


def test_its_manifest_gets_our_arguments_and_scripts(judge: Judge) -> None:
    entries = {entry["id"]: entry for entry in judge.manifest()["entries"]}
    assert entries["tls13-hrr"]["args"] == ["-n", "3", "--cookie"]
    assert entries["lost"]["args"] == []
    assert "chacha20" not in entries
    for group, scripts in _SCRIPTS["scripts"].items():
        for name, words in scripts.items():
            assert entries[name]["group"] == group
            assert entries[name]["args"] == words
    assert entries["tls13-keyupdate+all"]["script"] == "test-tls13-keyupdate.py"


def test_arguments_for_a_script_that_is_not_there_are_refused(judge: Judge) -> None:
    (judge.folder / "manifest_open.json").write_text('{"entries": []}')
    with pytest.raises(ValueError, match="tls13-hrr"):
        judge.manifest()


def test_its_verdict_is_read_from_results_and_logs(judge: Judge, tmp_path: Path) -> None:
    found, builtin, lost = judge.run(tmp_path, 1, group="hrr", abilities=("ecdsa", "may-retry"))
    assert found.passed == {"sanity", "a name, and more", "again and again"}
    assert found.failed == {"broken"}
    assert found.counts == (4, 5)
    assert builtin.passed == {"other"}
    assert builtin.failed == {"one"}
    assert (lost.status, lost.detail) == ("CRASH", "no module named tlslite")
    called = json.loads((judge.folder / "called.json").read_text())
    assert called[called.index("--group") + 1] == "hrr"
    clients = Path(called[called.index("--python") + 1]).read_text()
    assert f"exec {judge.python} " in clients
    assert "client.py ecdsa,may-retry " in clients


def test_a_judge_that_gives_up_is_no_verdict(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="gave up"):
        judge.run(tmp_path, 2, group="hrr", abilities=())
