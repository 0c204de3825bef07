"""Reads the files, environment variables and users that a configuration names.

Rules: only here is a file opened. Relative paths count from the configuration file's directory.
A file is read once per load, so that all uses see the same bytes; every path is remembered,
because a change of any of them is a reason to reload. Devices and pipes are refused: they could
block or never end.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from proxy.config.configuration import SystemUser
from proxy.config.errors import Unfit, quote
from proxy.tls import Secret

LIMIT_BYTES = 4 * 1024 * 1024
"""A bundle of all public authorities is a quarter of a MiB."""
_MORE_THAN_A_PASSPHRASE = 4096


class Sources:
    """What one load has read."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._contents: dict[Path, bytes | Unfit] = {}
        self._open_to_all: set[Path] = set()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was asked for, in order."""
        return tuple(self._contents)

    def resolve(self, path: str) -> Path:
        """The path, from the configuration's directory where it is relative."""
        return self._base / path

    def read(self, path: str) -> bytes:
        """A file's content. Raises Unfit when there is none to be had."""
        resolved = self.resolve(path)
        if resolved not in self._contents:
            try:
                self._contents[resolved] = self._read(resolved)
            except Unfit as error:
                self._contents[resolved] = error
        content = self._contents[resolved]
        if isinstance(content, Unfit):
            raise content
        return content

    def open_to_all(self, path: str) -> bool:
        """Whether every user of the machine may read this file, which has been read."""
        return self.resolve(path) in self._open_to_all

    def passphrase(self, *, file: str | None, env: str | None) -> Secret:
        """The secret that a reference with exactly one of the two stands for. Raises Unfit."""
        if file is not None:
            content = self.read(file)
            if len(content) > _MORE_THAN_A_PASSPHRASE:
                raise Unfit(f"a file with a secret of at most {_MORE_THAN_A_PASSPHRASE} bytes")
            return Secret(content.removesuffix(b"\n").removesuffix(b"\r"))
        try:
            value = os.environ[env or ""]
        except (KeyError, ValueError):
            raise Unfit("an environment variable that is set") from None
        return Secret(os.fsencode(value))

    def user(self, name: str) -> SystemUser:
        """The user of this name. Raises Unfit for one that is unknown, and for root."""
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise Unfit("the name of a user of this system") from None
        if found.pw_uid == 0:
            raise Unfit("a user without root's rights")
        return SystemUser(name=name, uid=found.pw_uid, gid=found.pw_gid)

    def _read(self, path: Path) -> bytes:
        try:
            # Without O_NONBLOCK, opening a pipe would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unreadable(path, error) from None
        except ValueError:
            raise Unfit("a path that this system's locale can write") from None
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise Unfit("a regular file", found=quote(str(path)))
            if mode & stat.S_IROTH:
                self._open_to_all.add(path)
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = stream.read(LIMIT_BYTES + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
        finally:
            os.close(descriptor)
        if len(content) > LIMIT_BYTES:
            raise Unfit(f"a file of at most {LIMIT_BYTES} bytes")
        return content


def _unreadable(path: Path, error: OSError) -> Unfit:
    return Unfit("a readable file", found=f"{quote(str(path))}: {error.strerror}")
