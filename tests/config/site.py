"""A directory with a configuration and the certificates it names, made for one test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from proxy.config import ConfigError, Configuration, load
from tests.certs import Issued, ThrowAwayCa

BASE = """\
listeners:
  - name: public
    bind: ["127.0.0.1:8443"]
    answer: adaptive
    server_names:
      - names: [example.org]
        default: true
        certificates:
          - cert_file: example.org.pem
            key_file: example.org.key
        routes:
          - host: example.org
            backend: app
backends:
  app:
    servers: ["https://10.0.0.5"]
"""
"""A small configuration that loads without a remark; tests replace lines of it by number."""


@cache
def authority() -> ThrowAwayCa:
    """The authority of all certificates here."""
    return ThrowAwayCa()


@cache
def issued() -> Issued:
    """A certificate for example.org and the names below it that lasts longer than a warning."""
    return authority().issue(["example.org", "*.example.org"], not_after=in_days(60))


def in_days(days: float) -> datetime:
    """The moment so many days ahead."""
    return datetime.now(UTC) + timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Site:
    """The directory; `site.yaml` in it is the configuration."""

    directory: Path

    @property
    def path(self) -> Path:
        """The configuration file."""
        return self.directory / "site.yaml"

    def certificate(self, name: str, issued: Issued) -> None:
        """Write `<name>.pem` and `<name>.key`."""
        issued.write(self.directory, name)

    def load(self, text: str) -> Configuration:
        """Write the text as the configuration and load it."""
        self.path.write_text(text)
        return load(self.path)

    def problems(self, text: str) -> list[str]:
        """What is wrong with the text, each as LINE:COLUMN: KEY: ...; empty: nothing."""
        try:
            self.load(text)
        except ConfigError as error:
            return [self._short(str(problem)) for problem in error.problems]
        return []

    def cautions(self, text: str) -> list[str]:
        """What the text will be regretted for, in the same form."""
        return [self._short(str(caution)) for caution in self.load(text).cautions]

    def _short(self, line: str) -> str:
        return line.removeprefix(f"{self.path}:").replace(f"{self.directory}/", "")


def replaced(number: int, line: str, text: str = BASE) -> str:
    """The text with one line (counted from 1) replaced by others, which may be none."""
    lines = text.splitlines()
    lines[number - 1 : number] = line.splitlines()
    return "\n".join(lines) + "\n"
