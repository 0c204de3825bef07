"""The compiled form (setup.py): what its compiler gets wrong is not written."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPILED: list[str] = SETTINGS["tool"]["vestibule"]["compiled"]


def reused_names(source: str) -> Iterator[str]:
    """Functions in which one name stands for exceptions of two types.

    mypyc gives the name the first of them, so that the second becomes a TypeError.
    """
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        types = defaultdict(set)
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                types[node.name].add(ast.unparse(node.type))
        yield from (f"{function.name}: {name}" for name, all_ in types.items() if len(all_) > 1)


def test_the_check_finds_what_it_looks_for() -> None:
    handlers = "    except {0} as error: ...\n    except {1} as {2}: ...\n"
    function = "def f():\n    try: ...\n" + handlers
    assert list(reused_names(function.format("OSError", "TypeError", "error"))) == ["f: error"]
    assert not list(reused_names(function.format("OSError", "TypeError", "other")))


@pytest.mark.parametrize("package", COMPILED)
def test_no_name_stands_for_two_types_of_exceptions(package: str) -> None:
    files = sorted((ROOT / package).glob("*.py"))
    assert files
    found = {file.name: list(reused_names(file.read_text())) for file in files}
    assert not {name: reused for name, reused in found.items() if reused}
