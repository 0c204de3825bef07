"""What tests of attacks share: the field on which they take place, and what it held before any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Scale
from tests.e2e.attacks.field import Field, Standing, field
from tests.e2e.conftest import Authority, Backend

ANSWERS = ("adaptive", "direct", "retry")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attacked" in metafunc.fixturenames:
        # A module may be about some of them only.
        answers = getattr(metafunc.module, "ANSWERS", ANSWERS)
        if not metafunc.config.getoption("--full-scale"):
            answers = answers[:1]
        metafunc.parametrize("attacked", answers, indirect=True, scope="package")


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def standing(attacked: Field) -> Standing:
    """What the proxy held before anything had happened."""
    return attacked.rest()
