"""A configuration file -> a Configuration, or all that is wrong with it.

Rules: only the supervisor and `check` load; children get snapshots. Whatever the file holds,
the result is a Configuration or ConfigError.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from proxy.config import build, references
from proxy.config.configuration import Configuration
from proxy.config.document import parse
from proxy.config.errors import Caution, ConfigError, Problem, Unfit
from proxy.config.findings import Findings
from proxy.config.material import Material, gather
from proxy.config.model import ConfigurationFile
from proxy.config.shape import read
from proxy.config.sources import Sources


def load(path: str | Path) -> Configuration:
    """Load a file with all that it names. Raises ConfigError with every problem found.

    Places name the file as it was given here; paths in the Configuration are absolute.
    """
    file = Path(path)
    sources = Sources(file.parent.absolute())
    findings = Findings(parse(_content(file, sources), str(path)))
    shape = read(findings)
    if shape is None:
        raise findings.error()
    references.check(shape, sources, findings)
    material = gather(shape, sources, findings, datetime.now(UTC))
    cautions = findings.close()
    return _configuration(file.absolute(), shape, material, sources, cautions)


def _content(file: Path, sources: Sources) -> bytes:
    try:
        return sources.read(file.name)
    except Unfit as error:
        problem = Problem(
            file=str(file), line=0, column=0, key="", expected=error.expected, found=error.found
        )
        raise ConfigError([problem]) from None


def _configuration(
    path: Path,
    shape: ConfigurationFile,
    material: Material,
    sources: Sources,
    cautions: tuple[Caution, ...],
) -> Configuration:
    return Configuration(
        path=path,
        files=sources.paths,
        front=build.front(shape, material, sources),
        names=build.names(shape),
        backends=build.backends(shape, material),
        http=build.http(shape),
        processes=build.processes(shape, material),
        admin=build.admin(shape, sources),
        logging=build.logging(shape, sources),
        cautions=cautions,
    )
