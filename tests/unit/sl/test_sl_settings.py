"""What an SL reads from its environment, where it decides something by itself."""

import pytest
from pydantic import ValidationError

from services.sl.settings import SlSettings

THRESHOLD = "SL_MODEL_PARAMS_COMPRESSION_THRESHOLD_MB"


@pytest.mark.parametrize(("text", "value"), [(None, 250), ("0", 0), ("1000", 1000)])
def test_the_threshold_of_compression(monkeypatch, text, value):
    if text is not None:
        monkeypatch.setenv(THRESHOLD, text)
    assert SlSettings().sl_model_params_compression_threshold_mb == value


@pytest.mark.parametrize("text", ["-1", "lots"])
def test_a_threshold_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(THRESHOLD, text)
    with pytest.raises(ValidationError, match="compression_threshold_mb"):
        SlSettings()


@pytest.mark.parametrize(
    ("service", "announced"),
    [("fs.sl1.swarm", "fs.sl1.swarm:443"), ("fs.sl1.swarm:30331", "fs.sl1.swarm:30331")],
)
def test_a_file_service_is_announced_with_its_port(service: str, announced: str):
    settings = SlSettings(sl_fs_service=service, this_node_ip="192.0.2.1", sl_fs_port=16000)
    assert settings.endpoint("here") == announced


@pytest.mark.parametrize(
    ("service", "asked"),
    [("api.sn1.swarm", "api.sn1.swarm:443"), ("api.sn1.swarm:30341", "api.sn1.swarm:30341")],
)
def test_an_api_service_is_asked_at_its_port(service: str, asked: str):
    settings = SlSettings(sn_api_service=service, sn_node_ip="192.0.2.1", sn_api_server_port=1)
    assert settings.sns() == [asked]
