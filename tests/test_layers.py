"""Who may import whom. Each import statement under proxy/ is read, none is executed.

A layer imports only the layers before it, and those only as a package, never their modules;
`front`, `http` and `trust` never each other; the engine nothing that waits, tells the time or
writes a log.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PROXY: Final = Path(__file__).parents[1] / "proxy"

ORDER: Final = (
    "wire",
    "tls",
    "handoff",
    "edge",
    "front",
    "upstream",
    "serve",
    "http",
    "trust",
    "config",
    "app",
    "cli",
)
APART: Final = frozenset({"front", "http", "trust"})
# Metrics and logs stand beside the layers, below the engine: they import none of them.
TELEMETRY: Final = "telemetry"
TELEMETRY_FROM: Final = ORDER.index("handoff")

NO_IO: Final = frozenset(
    {
        "asyncio",
        "concurrent",
        "datetime",
        "logging",
        "multiprocessing",
        "os",
        "random",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "uvloop",
    }
)
FORBIDDEN: Final = {
    "wire": NO_IO | {"cryptography", "hashlib", "hmac", "secrets"},
    "tls": NO_IO,
}


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a file imports."""

    file: str
    line: int
    module: str

    @property
    def layer(self) -> str:
        """Where it is imported: the directory, or the file's name at the top."""
        return self.file.removeprefix("proxy/").partition("/")[0].removesuffix(".py")


def imports(file: str, source: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "proxy":
                for alias in node.names:
                    yield Import(file, node.lineno, f"proxy.{alias.name}")
            else:
                yield Import(file, node.lineno, module)


def offence(one: Import) -> str | None:
    """What is wrong with an import, if anything is."""
    if one.module.startswith("."):
        return "relative import"
    top, _, rest = one.module.partition(".")
    if top != "proxy":
        return "not for the engine" if top in FORBIDDEN.get(one.layer, ()) else None
    target, _, inner = rest.partition(".")
    if target in ("", "__version__") or target == one.layer:
        return None
    if target not in (*ORDER, TELEMETRY):
        return "no layer"
    if inner:
        return "another package's module"
    return _order(one.layer, target)


def _order(layer: str, target: str) -> str | None:
    if layer not in ORDER:
        return "telemetry imports no layer" if layer == TELEMETRY else None
    if target == TELEMETRY:
        return None if ORDER.index(layer) >= TELEMETRY_FROM else "not for the engine"
    if {layer, target} <= APART:
        return "layers that stand apart"
    return None if ORDER.index(target) < ORDER.index(layer) else "a layer below"


def all_imports() -> list[Import]:
    """Those of the whole package."""
    return [
        one
        for path in sorted(PROXY.rglob("*.py"))
        for one in imports(str(path.relative_to(PROXY.parent)), path.read_text())
    ]


def test_layers() -> None:
    found = [(one, offence(one)) for one in all_imports()]
    wrong = [f"{one.file}:{one.line}: {one.module}: {why}" for one, why in found if why]
    assert not wrong, "\n".join(wrong)


def test_every_directory_is_a_layer() -> None:
    packages = {path.parent.name for path in PROXY.glob("*/__init__.py")}
    assert packages <= {*ORDER, TELEMETRY}
    assert {"wire", "tls"} <= packages


def test_every_package_says_what_it_exports() -> None:
    for path in PROXY.glob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        names = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("proxy.")
            for alias in node.names
        }
        listed = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and [ast.unparse(target) for target in node.targets] == ["__all__"]
        ]
        if names:
            assert len(listed) == 1, f"{path}: __all__"
            assert names <= set(listed[0]), f"{path}: __all__"


@pytest.mark.parametrize(
    ("file", "source", "why"),
    [
        ("proxy/tls/answer.py", "import time", "not for the engine"),
        ("proxy/tls/answer.py", "import os.path", "not for the engine"),
        ("proxy/wire/codec.py", "def f():\n    from asyncio import run", "not for the engine"),
        ("proxy/wire/codec.py", "import hashlib", "not for the engine"),
        ("proxy/tls/answer.py", "import hashlib", None),
        ("proxy/tls/answer.py", "from proxy.wire import Reader", None),
        ("proxy/tls/answer.py", "from proxy.wire.codec import Reader", "another package's module"),
        ("proxy/tls/answer.py", "from proxy.tls.context import Retried", None),
        ("proxy/wire/codec.py", "from proxy.tls import answer", "a layer below"),
        ("proxy/wire/codec.py", "from proxy import tls", "a layer below"),
        ("proxy/tls/answer.py", "from proxy.telemetry import Counter", "not for the engine"),
        ("proxy/handoff/sink.py", "from proxy.telemetry import Counter", None),
        ("proxy/telemetry/log.py", "from proxy.wire import Reader", "telemetry imports no layer"),
        ("proxy/http/head.py", "from proxy.front import Front", "layers that stand apart"),
        ("proxy/front/front.py", "from proxy.http import Head", "layers that stand apart"),
        ("proxy/front/front.py", "from proxy.upstream import Backend", "a layer below"),
        ("proxy/front/front.py", "import proxy.tls.answer", "another package's module"),
        ("proxy/front/front.py", "from .table import Table", "relative import"),
        ("proxy/app/worker.py", "from proxy.nothing import x", "no layer"),
        ("proxy/cli.py", "from proxy.app import run", None),
        ("proxy/cli.py", "from proxy import __version__", None),
        ("proxy/__main__.py", "from proxy.cli import main", None),
    ],
)
def test_the_check_itself(file: str, source: str, why: str | None) -> None:
    (one,) = imports(file, source)
    assert offence(one) == why
