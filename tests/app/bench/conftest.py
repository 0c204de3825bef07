"""A site with its backend, certificates and a running Vestibule, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.app.bench.load import Load
from proxy.app.bench.server import Server
from proxy.app.bench.sites import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site.prepared(tmp_path_factory.mktemp("site"), None, None) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with site.vestibule("direct") as running:
        yield running


@pytest.fixture(scope="module")
def load(site: Site) -> Iterator[Load]:
    with Load(site.ca, None) as running:
        yield running
