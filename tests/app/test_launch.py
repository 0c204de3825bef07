"""What of a configuration is decided once, at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.app.launch import users_of
from proxy.config import Configuration, SystemUser
from tests.config.site import Site, issued, replaced

USER = SystemUser(name="nobody", uid=65534, gid=65534)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Of a proxy whose fronts hold no key."""
    site = Site(tmp_path)
    site.certificate("example.org", issued())
    return site.load(replaced(4, "    answer: retry"))


def with_user(configuration: Configuration, user: SystemUser) -> Configuration:
    processes = replace(configuration.processes, keyless_user=user)
    return replace(configuration, processes=processes)


def test_fronts_are_who_we_are_unless_told(configuration: Configuration) -> None:
    assert users_of(configuration) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_fronts_alone_are_the_keyless_user(configuration: Configuration) -> None:
    assert users_of(with_user(configuration, USER)) == {"front": USER}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_only_root_makes_fronts_another_user() -> None:
    # What it needs is imported before the user changes, who may not read this checkout.
    code = """
import os
from types import SimpleNamespace
from proxy.app.failures import Refusal
from proxy.app.launch import users_of
os.setuid(65534)
user = SimpleNamespace(name="www", uid=4711, gid=4711)
try:
    users_of(SimpleNamespace(processes=SimpleNamespace(keyless_user=user)))
except Refusal as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = "processes.keyless_user is www: only root can start processes as another user\n"
    assert done.stdout == expected
