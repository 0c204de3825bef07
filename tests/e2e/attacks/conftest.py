"""What tests of attacks share: the field on which they take place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Scale
from tests.e2e.attacks.field import Field, field
from tests.e2e.conftest import Authority, Backend


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These are run for their figures, with full counts: `--full-scale tests/e2e/attacks`."""
    is_left_out = collection_path.name.startswith("test_") and not config.getoption("--full-scale")
    return True if is_left_out else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attacked" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full-scale")
        answers = ("adaptive", "direct", "retry") if full else ("adaptive",)
        metafunc.parametrize("attacked", answers, indirect=True, scope="module")


@pytest.fixture(scope="module")
def attacked(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    backend: Backend,
    scale: Scale,
) -> Iterator[Field]:
    """Servers with honest clients, and an attacker that waits; the parameter is how the proxy
    answers, and nginx is compared with how it does by default."""
    directory = tmp_path_factory.mktemp("attacked")
    answer = request.param
    rival = answer == "adaptive"
    with field(directory, authority, backend, answer, scale, rival=rival) as running:
        yield running
