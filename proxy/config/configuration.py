"""A configuration that has been checked: what every part of the proxy works with.

Rules: immutable, complete (no file is named that somebody still has to read), and of the layers'
own settings types. The types here belong to what only processes know; those of the front, of
upstream, http and telemetry are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxy.config.errors import Caution
from proxy.front import BindAddress, Form, FrontSettings
from proxy.http import HttpSettings
from proxy.telemetry import LoggingSettings
from proxy.upstream import BackendSettings

DRAIN_TIMEOUT_S = 30.0
"""Longer than nearly all requests; below the 90 s after which systemd kills."""

STUCK_TIMEOUT_S = 15.0
"""A front in a flood answers within a turn of its loop, a fraction of a second even where it signs
with RSA; garbage collection, a slow disk or a busy machine take seconds. Whoever is silent for this
long serves nobody, and a restart takes two seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """Requests for a host below a path go to a backend."""

    host: str
    """A name, `*.name`, or `*`."""
    path_prefix: str
    """Decoded, in normal form."""
    backend: str
    """The backend's name."""
    preserve_host: bool
    """Send the client's Host; else the server's own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSettings:
    """What a worker does with the connections of one entry of a listener's server names."""

    index: int
    """The entry's number: the same as in the front's ServerNameSettings."""
    listener: str
    """The listener's name."""
    names: tuple[str, ...]
    """The names that clients ask for."""
    form: Form
    """Whether `routes` or `tcp_backend` counts."""
    routes: tuple[RouteSettings, ...] = ()
    """For HTTP."""
    tcp_backend: str | None = None
    """The backend's name for bytes as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUser:
    """A user of this system, never root."""

    name: str
    """As in the system's user database."""
    uid: int
    """Its number."""
    gid: int
    """The number of its primary group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How many processes there are, and how they end."""

    fronts: int
    """Processes that accept and answer."""
    workers: int
    """Processes that serve; `auto` has been counted."""
    keyless_user: SystemUser | None = None
    """Whom fronts run as; None: whom we run as. Given only where no front holds a key."""
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    """How long open connections may go on after SIGTERM."""
    stuck_timeout_s: float = STUCK_TIMEOUT_S
    """How long a process may leave the supervisor without an answer before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Where the supervisor answers questions."""

    listen: BindAddress | None
    """TCP address for metrics and health; None: off."""
    socket: str | None
    """Absolute path of the control socket; None: off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration file, checked, with what the files it names contain."""

    path: Path
    """The file."""
    files: tuple[Path, ...]
    """Every file that was read, the configuration first: a change of one is worth a reload."""
    front: FrontSettings
    """What fronts do."""
    names: tuple[NameSettings, ...]
    """What workers do with each entry of the listeners' server names."""
    backends: tuple[BackendSettings, ...]
    """The groups of servers, by name."""
    http: HttpSettings
    """How requests are passed on."""
    processes: ProcessSettings
    """How many processes there are."""
    admin: AdminSettings
    """Where to ask."""
    logging: LoggingSettings
    """What is written where."""
    cautions: tuple[Caution, ...]
    """What works and will probably be regretted, in the order of the file."""
