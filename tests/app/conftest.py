"""The fixture of tests that need a whole supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.app.supervised import Make, Supervised, Wishes


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts supervisors that end with the test."""
    with ExitStack() as ends:

        def start(**wishes: Any) -> Supervised:
            return ends.enter_context(Supervised(tmp_path, Wishes(**wishes)))

        yield start
