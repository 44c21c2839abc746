"""`compose.local swop` with fake services: what runs, what is told, how it ends."""

import os
import signal

import pytest

from compose import local
from compose.plan import REPOSITORY

DIGITS = str(REPOSITORY / "examples" / "digits")


def nodes_of(status):
    return {node["name"]: node for node in status.get("nodes", []) if isinstance(node, dict)}


def runs(*names):
    def look(status):
        nodes = nodes_of(status)
        return all(nodes.get(name, {}).get("state") == "running" for name in names)

    return look


@pytest.fixture
def held(tmp_path):
    """While this file is there, the fake SWCI does not end."""
    file = tmp_path / "held"
    file.touch()
    return file


def trains(status):
    return status.get("event") == "status" and status["contract"]["round"] > 0


def test_the_script_runs_to_its_end(launch, tmp_path, held):
    flow = launch("swop", "--sns", "3", DIGITS, FAKE_SWCI_WAITS=str(held))
    flow.until(trains)
    held.unlink()
    result = flow.result()
    assert (result["exit_code"], result["reason"], result["failures"]) == (0, "", {})
    assert len(result["digests"]) == 4
    assert set(result["digests"].values()) == {"ab" * 32}
    assert set(flow.pids) == {"license", "sn-1", "sn-2", "sn-3", "swop-1", "swop-2", "swci-1"}
    flow.assert_nothing_left()
    transcript = (tmp_path / "run" / "logs" / "swci-1.log").read_text()
    assert "WAIT FOR IP 127.0.0.1 " in transcript
    certs = tmp_path / "run" / "certs"
    for name in ("swop-1", "swop-2", "swci-1", "sl-4", "sn-3"):
        assert (certs / f"{name}-cert.pem").exists()


def test_different_models_fail_the_run(launch, held):
    flow = launch("swop", DIGITS, FAKE_DIGEST="own", FAKE_SWCI_WAITS=str(held))
    flow.until(trains)
    held.unlink()
    result = flow.result()
    assert (result["exit_code"], result["failures"]) == (1, {})
    assert len(set(result["digests"].values())) == 2


def test_a_script_that_fails_fails_the_run(launch):
    flow = launch("swop", DIGITS, FAKE_SWCI="fails")
    result = flow.result()
    assert result["exit_code"] == 1
    assert result["failures"] == {"swci-1": "exit code 1: ERROR : no SWOP listens"}
    flow.assert_nothing_left()


def test_a_swop_that_is_killed_does_not_end_the_run(launch, tmp_path, held, capsys):
    flow = launch("swop", DIGITS, FAKE_SWCI_WAITS=str(held))
    flow.until(runs("swop-1", "swop-2", "swci-1"))
    os.kill(flow.pids["swop-1"], signal.SIGKILL)
    flow.until(lambda status: nodes_of(status)["swop-1"]["state"] == "exited")
    assert local.main(["restart", "swop-1", "--run-dir", str(tmp_path / "run")]) == 0
    assert "swop-1 runs again" in capsys.readouterr().out
    assert local.main(["restart", "swci-1", "--run-dir", str(tmp_path / "run")]) == 2
    held.unlink()
    assert flow.result()["exit_code"] == 0
    flow.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_signals_stop_all(launch, held, number):
    flow = launch("swop", DIGITS, FAKE_SWCI_WAITS=str(held))
    flow.until(runs("swop-1", "swop-2", "swci-1"))
    flow.process.send_signal(number)
    result = flow.result()
    assert result["exit_code"] == 128 + number
    flow.assert_nothing_left()


def test_the_license_server_is_lost(launch, held):
    flow = launch("swop", DIGITS, FAKE_SWCI_WAITS=str(held))
    flow.until(runs("swci-1"))
    os.kill(flow.pids["license"], signal.SIGKILL)
    assert flow.result()["reason"].startswith("license ended")
    flow.assert_nothing_left()


def test_a_folder_that_is_no_flow(launch, tmp_path):
    flow = launch("swop", str(tmp_path))
    _, errors = flow.process.communicate(timeout=60)
    assert flow.process.returncode == 2
    assert "it has no swci/swci-init" in errors
    assert not (tmp_path / "run").exists()
