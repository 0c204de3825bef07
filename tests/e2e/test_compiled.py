"""Whichever form of the product is tested, its processes run it."""

from __future__ import annotations

from pathlib import Path

import pytest

import proxy
from tests.conftest import IS_COMPILED
from tests.e2e.deployment import Vestibule


@pytest.mark.parametrize("role", ["front", "worker"])
def test_processes_run_the_form_that_is_tested(vestibule: Vestibule, role: str) -> None:
    (pid, *_) = vestibule.pids(role)
    objects = str(Path(proxy.__file__).parent / "tls")
    assert (objects in Path(f"/proc/{pid}/maps").read_text()) is IS_COMPILED
