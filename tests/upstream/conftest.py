"""Upstream tests run on uvloop, as the workers do, against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.certs import ThrowAwayCa


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What production runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def ca() -> ThrowAwayCa:
    """The authority that backends' certificates come from."""
    return ThrowAwayCa()
