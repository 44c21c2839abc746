"""The documented variables, in all spellings that reach a container."""

from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.common.settings import load
from services.license.settings import LicenseSettings
from services.sl.settings import SlSettings
from services.sn.settings import SnSettings
from services.swci.settings import SwciSettings
from services.swop.settings import SwopSettings

ALL = (SnSettings, SlSettings, SwopSettings, SwciSettings, LicenseSettings)
TRUE = ("1", "true", "True", "TRUE", "yes", "Yes", "YES", "on", " True ", "true\r")
FALSE = ("0", "false", "False", "FALSE", "no", "No", "NO", "off", "False ")
BOOLEANS = [
    (SnSettings, "SN_I_AM_SENTINEL", False),
    (SnSettings, "SN_START_MINING", True),
    (SlSettings, "SL_MAKE_ME_ADMIN", True),
    (SlSettings, "SL_RAM_INTENSIVE", True),
    (SwopSettings, "SWOP_KEEP_CONTAINERS", False),
    (SwciSettings, "SWCI_WEB_INSECURE", False),
]


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    """No variable of this machine."""
    for kind in ALL:
        for name in kind.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("USR_DIR", raising=False)


@pytest.mark.parametrize(("kind", "name", "default"), BOOLEANS, ids=[b[1] for b in BOOLEANS])
def test_booleans(monkeypatch, kind, name: str, default: bool):
    for expected, spellings in ((True, TRUE), (False, FALSE), (default, ("", " "))):
        for spelling in spellings:
            monkeypatch.setenv(name, spelling)
            assert getattr(load(kind), name.lower()) is expected, repr(spelling)
    monkeypatch.setenv(name, "perhaps")
    with pytest.raises(ConfigError, match=name):
        load(kind)


@pytest.mark.parametrize("kind", ALL)
def test_empty_values_mean_the_defaults(monkeypatch, kind):
    """HPE's scripts and YAML files set variables to nothing."""
    defaults = load(kind)
    for name in kind.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load(kind) == defaults


def test_defaults_are_hpes():
    sn, sl, swci = load(SnSettings), load(SlSettings), load(SwciSettings)
    assert (sn.sn_api_server_port, sn.sentinel_api_server_port) == (30304, 30304)
    assert (sl.sn_api_server_port, sl.sl_fs_port) == (30304, 30305)
    assert (sl.sl_leader_failure_base_timeout, sl.sl_wait_for_full_quorum_seconds) == (600, 30)
    assert sl.sl_model_params_compression_threshold_mb == 250
    assert (swci.swci_mode, swci.swci_web_port) == ("CLI", 30306)
    assert swci.swci_startup_script == "swci-init"
    assert (swci.run_minutes(), swci.generic_minutes()) == (120, 120)
    for settings in (sn, sl, swci, load(SwopSettings)):
        assert settings.swarm_license_autopassj_server_primary_port == 5814
        assert settings.swarm_license_autopassj_server_secondary_port == 5814


def test_services_and_their_default_ports(monkeypatch):
    monkeypatch.setenv("SENTINEL_API_SERVICE", "api.sn-1.swarm")
    monkeypatch.setenv("SN_API_SERVICE", "api.sn-2.swarm")
    monkeypatch.setenv("SN_ETH_P2P_SERVICE", "p2p.sn-2.swarm")
    monkeypatch.setenv("SL_FS_SERVICE", "fs.sl-1.swarm")
    sn = load(SnSettings)
    assert sn.entry() == "api.sn-1.swarm:443"
    assert sn.api_endpoint("host", 30304) == "api.sn-2.swarm:443"
    assert sn.p2p_endpoint("host", 30303) == "p2p.sn-2.swarm:30303"
    sl = load(SlSettings)
    assert sl.sns() == ["api.sn-2.swarm:443"]
    assert sl.endpoint("host") == "fs.sl-1.swarm:443"
    monkeypatch.setenv("SENTINEL_API_SERVICE", "api.sn-1.swarm:8443")
    assert load(SnSettings).entry() == "api.sn-1.swarm:8443"


@pytest.mark.parametrize(
    ("port", "service", "second"),
    [("30404", "a.b:443", 30304), ("30304", "a.b", None), ("30404", "", None), ("0", "a.b", None)],
)
def test_the_port_that_run_sn_publishes_for_a_service(monkeypatch, port, service, second):
    monkeypatch.setenv("SN_API_SERVER_PORT", port)
    monkeypatch.setenv("SN_API_SERVICE", service)
    assert load(SnSettings).second_api_port() == second


def test_announced_addresses(monkeypatch):
    monkeypatch.setenv("THIS_NODE_IP", "172.1.1.1")
    monkeypatch.setenv("SN_ETH_PORT_EXT", "32303")
    monkeypatch.setenv("SL_FS_PORT", "32305")
    assert load(SnSettings).api_endpoint("host", 30404) == "172.1.1.1:30404"
    assert load(SnSettings).p2p_endpoint("host", 30303) == "172.1.1.1:32303"
    assert load(SlSettings).endpoint("host") == "172.1.1.1:32305"
    assert load(SlSettings).sl_fs_listen_port == 30305


def test_waits_of_swci(monkeypatch):
    monkeypatch.setenv("SWCI_TASK_MAX_WAIT_TIME", "5")
    assert (load(SwciSettings).run_minutes(), load(SwciSettings).generic_minutes()) == (5, 5)
    monkeypatch.setenv("SWCI_RUN_TASK_MAX_WAIT_TIME", "7")
    assert (load(SwciSettings).run_minutes(), load(SwciSettings).generic_minutes()) == (7, 5)
    monkeypatch.setenv("SWCI_GENERIC_TASK_MAX_WAIT_TIME", "9")
    assert (load(SwciSettings).run_minutes(), load(SwciSettings).generic_minutes()) == (7, 9)


def test_the_user_folder(monkeypatch):
    monkeypatch.setenv("USR_DIR", "/somewhere")
    assert load(SwciSettings).swci_usr_dir == load(SwopSettings).usr_dir == Path("/somewhere")
    monkeypatch.setenv("SWCI_USR_DIR", "/elsewhere")
    assert load(SwciSettings).swci_usr_dir == Path("/elsewhere")


def test_log_levels_and_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SWARM_LOG_LEVEL", "DEBUG")
    assert load(SlSettings).log_level() == "DEBUG"
    monkeypatch.setenv("SL_LOG_LEVEL", "ERROR")
    assert load(SlSettings).log_level() == "ERROR"
    assert load(SlSettings).log_file("sl") is None
    monkeypatch.setenv("LOGS_DIR", str(tmp_path))
    assert load(SlSettings).log_file("sl") == tmp_path / "sl.log"


def test_swops_ids_may_be_empty(monkeypatch):
    monkeypatch.setenv("SWOP_UID", "1000")
    monkeypatch.setenv("SWOP_GID", "")
    monkeypatch.setenv("SWOP_DOCKER_GID", "")
    assert load(SwopSettings).user() == "1000:1000"


def test_proxies_that_are_empty_are_none(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name.upper(), raising=False)
    assert load(SwopSettings).proxies() == {}
    monkeypatch.setenv("HTTP_PROXY", "http://p:3128")
    monkeypatch.delenv("http_proxy")
    assert load(SwopSettings).proxies() == {"http_proxy": "http://p:3128"}
