"""The build: everything is in pyproject.toml but the compiled form of the hot path.

`VESTIBULE_COMPILE=1 pip install --no-build-isolation .` compiles it by mypyc, with the types that
mypy checks anyway; it needs setuptools, mypy, the dependencies and a C compiler. Without that
variable the same sources are installed as they are.
"""

import os
import tomllib
from pathlib import Path

from setuptools import setup


def _extensions() -> list[object]:
    if os.environ.get("VESTIBULE_COMPILE", "") in ("", "0"):
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        raise SystemExit(
            "VESTIBULE_COMPILE=1 needs mypy in the environment: pip install setuptools wheel mypy,"
            " then pip install --no-build-isolation"
        ) from None
    packages = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["vestibule"]["compiled"]
    modules = (path for one in packages for path in sorted(Path(one).glob("*.py")))
    # Settings travel between processes by their annotations, which compiled classes lack.
    names = [str(path) for path in modules if path.name != "settings.py"]
    return list(mypycify(names, opt_level="2", debug_level="0"))


setup(ext_modules=_extensions())
