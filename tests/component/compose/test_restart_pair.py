"""`compose.local restart sl-N`: an SL and its ML program, started again together."""

import json

import pytest

from compose import local, status
from services.common import sn_api as api
from tests.component.compose.conftest import wait_gone
from tests.component.compose.test_several_sns import nodes_of, running


@pytest.fixture
def tell(tmp_path, capsys):
    def run(*words):
        capsys.readouterr()
        code = local.main([*words, "--run-dir", str(tmp_path / "run")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.mark.parametrize(
    ("named", "killed"),
    [("sl-2", ""), ("sl-2", "sl-2"), ("ml-2", "ml-2")],
    ids=["both run", "no sl", "no ml"],
)
def test_both_halves_come_back(compose, tmp_path, tell, named, killed):
    composition = compose("hang", "--min-peers", "1")
    composition.until_enrolled(2)
    before = dict(composition.pids)
    if killed:
        assert tell("kill", killed)[0] == 0
    (tmp_path / "run" / "nodes" / "sl-2" / "result.json").write_text('{"outcome": "left"}')
    code, said = tell("restart", named)
    assert code == 0, said
    assert said.startswith("ml-2 and sl-2 run again (pid ")
    state = composition.until(
        lambda s: running("ml-2", "sl-2")(s) and nodes_of(s)["sl-2"]["restarts"] == 1
    )
    again = {name: node for name, node in nodes_of(state).items() if name in ("ml-2", "sl-2")}
    assert all(n["restarts"] == 1 and n["pid"] != before[n["name"]] for n in again.values())
    for name in again:
        wait_gone(before[name])
    others = {n: node["pid"] for n, node in nodes_of(state).items() if n not in again}
    assert others == {name: before[name] for name in others}
    composition.process.terminate()
    result = composition.result()
    assert result["failures"] == {}
    composition.assert_nothing_left()


def test_an_sl_without_a_program_is_restarted_alone(compose, tell):
    composition = compose("up", nodes=1)
    composition.until(lambda s: "sl-1" in nodes_of(s) and running("sl-1")(s))
    code, said = tell("restart", "sl-1")
    assert (code, said.startswith("sl-1 runs again (pid ")) == (0, True)
    assert tell("down")[0] == 0
    assert composition.result()["exit_code"] == 0


def test_status_tells_how_many_have_checked_in(compose, tell, tmp_path):
    terms = api.Terms(min_peers=3, merge_method="mean", adaptive=False, leader_timeout_s=9)
    checkin = api.CheckInView(base="0" * 64, digest="1" * 64, size=1, weightage=1)

    def peer(uid, live, ready):
        return api.PeerView(
            uid=uid * 32, endpoint="h:1", fingerprint="", container="", live=live, may_lead=True,
            state=api.PeerState.TRAINING, checkin=checkin if ready else None, participant=False,
            dropped="", perf=None, perf_round=0, rounds=0, left="",
        )  # fmt: skip

    view = api.ContractView(
        name="c", generation=1, phase=api.Phase.CHECKIN, round=1, term=0, leader="", terms=terms,
        peers=[peer("a", True, True), peer("b", True, False), peer("c", False, False)],
        merged=None, quorum_age_s=None, waiting_for="waiting for 2 more peers (1 of 3 checked in)",
    )  # fmt: skip
    assert status.summary(view)["waiting"] == "1/3"
    state = {
        "run_dir": str(tmp_path), "state": "running", "nodes": [],
        "contract": {"name": "c", **status.summary(view)},
    }  # fmt: skip
    (head, _) = status.table(state)
    assert "contract c CHECKIN, WAITING 1/3, waiting for 2 more peers" in head
    merging = view.model_copy(update={"phase": api.Phase.MERGING})
    assert status.summary(merging)["waiting"] == ""
    assert json.dumps(status.summary(None))
