"""A CA, and two nodes with certificates of it."""

import pytest

from tests.component.identity.site import Site, authority


@pytest.fixture
def ca():
    return authority()


@pytest.fixture
def site(tmp_path, ca):
    return Site(tmp_path / "node", ca)


@pytest.fixture
def peer(tmp_path, ca):
    return Site(tmp_path / "peer", ca, "SN-1")
