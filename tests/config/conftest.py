"""What the configuration's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.site import Site, issued


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A directory with a good certificate for example.org."""
    made = Site(tmp_path)
    made.certificate("example.org", issued())
    return made
