"""Addresses that an SN announces, and whom it joins."""

import pytest

from services.common.errors import ConfigError
from services.sn.settings import SnSettings


def test_the_sentinel_joins_nobody():
    assert SnSettings(sn_i_am_sentinel=True).entry() is None


def test_whom_to_join():
    assert SnSettings(sentinel_node_ip="sn1").entry() == "sn1:30304"
    other = SnSettings(sentinel_node_ip="sn1", sentinel_api_server_port=9)
    assert other.entry() == "sn1:9"
    assert SnSettings(sentinel_api_service="api.sn1").entry() == "api.sn1:443"
    assert SnSettings(sentinel_api_service="api.sn1:8443").entry() == "api.sn1:8443"


def test_neither_is_refused():
    with pytest.raises(ConfigError, match="SENTINEL_NODE_IP"):
        SnSettings().entry()


def test_what_is_announced():
    plain = SnSettings()
    assert plain.api_endpoint("host", 30304) == "host:30304"
    assert plain.p2p_endpoint("host", 30303) == "host:30303"
    mapped = SnSettings(this_node_ip="10.0.0.1", sn_eth_port_ext=40303)
    assert mapped.api_endpoint("host", 30304) == "10.0.0.1:30304"
    assert mapped.p2p_endpoint("host", 30303) == "10.0.0.1:40303"
    services = SnSettings(sn_api_service="api.sn", sn_eth_p2p_service="p2p.sn")
    assert services.api_endpoint("host", 1) == "api.sn:443"
    assert services.p2p_endpoint("host", 1) == "p2p.sn:30303"
    services = SnSettings(sn_api_service="api.sn:8443", sn_eth_p2p_service="p2p.sn:31303")
    assert services.api_endpoint("host", 1) == "api.sn:8443"
    assert services.p2p_endpoint("host", 1) == "p2p.sn:31303"
    assert SnSettings(this_node_ip="::1").api_endpoint("host", 1) == "[::1]:1"
