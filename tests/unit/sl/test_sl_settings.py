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
