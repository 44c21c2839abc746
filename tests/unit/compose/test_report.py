"""What a run came to."""

from pathlib import Path
from types import SimpleNamespace

from compose.plan import Kind, Layout, NodePlan
from compose.processes import Node, State
from compose.report import Result, describe, failures, final_digests

LAYOUT = Layout(Path("/run"), Path("/scratch"), Path("/certs"))


def test_exit_code():
    assert Result("/run", digests={"sl-1": "a", "sl-2": "a"}).exit_code == 0
    assert Result("/run", digests={"sl-1": "a", "sl-2": "b"}).exit_code == 1
    assert Result("/run", failures={"ml-1": "exit code 1"}).exit_code == 1
    assert Result("/run", reason="too few").exit_code == 1
    assert Result("/run", reason="SIGINT received", signal=2).exit_code == 130


def test_one_that_left_early_may_hold_an_older_model():
    results = {
        "sl-1": {"final_digest": "a", "outcome": "completed"},
        "sl-2": {"final_digest": "b", "outcome": "left"},
    }
    assert final_digests(results) == {"sl-1": "a"}


def test_equal_models_are_said_and_different_ones_loudly():
    assert "2 nodes ended with the same model" in describe(
        Result("/run", digests={"sl-1": "a" * 64, "sl-2": "a" * 64}), LAYOUT
    )[0]  # fmt: skip
    lines = describe(Result("/run", digests={"sl-1": "a" * 64, "sl-2": "b" * 64}), LAYOUT)
    assert "DIFFERENT" in lines[0]
    assert lines[2] == f"    sl-2: {'b' * 64}"


def test_a_failed_node_gets_the_end_of_its_log_and_one_line(tmp_path):
    layout = Layout(tmp_path, tmp_path, tmp_path)
    layout.log("ml-1").parent.mkdir()
    layout.log("ml-1").write_text("".join(f"line {i}\n" for i in range(100)))
    lines = describe(Result(str(tmp_path), failures={"ml-1": "exit code 3"}), layout)
    assert "    line 99" in lines
    assert "    line 0" not in lines
    assert lines.count("FAILED ml-1: exit code 3") == 1
    assert lines[-1].startswith("failed: 0 rounds")


def test_the_half_that_only_followed_shows_no_log(tmp_path):
    layout = Layout(tmp_path, tmp_path, tmp_path)
    failed = {"sn-1": "exit code 1", "ml-1": "exit code 1", "sl-1": "exit code 6"}
    lines = describe(Result(str(tmp_path), failures=failed), layout)
    shown = [line.split(":")[0] for line in lines if line.startswith("--- ")]
    assert shown == ["--- sn-1", "--- ml-1"]
    assert "FAILED sl-1: exit code 6" in lines


def test_what_swci_printed_is_not_told_twice(tmp_path):
    layout = Layout(tmp_path, tmp_path, tmp_path)
    layout.log("swci-1").parent.mkdir()
    layout.log("swci-1").write_text("SWCI:0 > LIST TASKS\n")
    lines = describe(Result(str(tmp_path), failures={"swci-1": "exit code 1: no"}), layout)
    assert lines[0] == "FAILED swci-1: exit code 1: no"
    assert not any("LIST TASKS" in line for line in lines)


def test_one_is_no_plural_and_a_lost_ledger_is_said():
    result = Result("/run", digests={"sl-1": "a" * 64}, rounds=1, ledger="ledger not fetched")
    lines = describe(result, LAYOUT)
    assert lines[0].startswith("1 node ended")
    assert lines[1] == "ledger not fetched"
    assert lines[2].startswith("done: 1 round in")


def ended(tmp_path, kind, index, at, code=1):
    name = f"{kind.lower()}-{index}"
    plan = NodePlan(kind, name, (), {}, tmp_path / name, tmp_path, index=index)
    return Node(plan, SimpleNamespace(pid=1), State.EXITED, code, ended=at)


async def test_failures_come_pair_by_pair_in_the_order_of_time(tmp_path):
    nodes = [
        ended(tmp_path, Kind.SL, 1, 9.0), ended(tmp_path, Kind.ML, 1, 8.0),
        ended(tmp_path, Kind.SL, 2, 3.0), ended(tmp_path, Kind.ML, 2, 4.0),
        ended(tmp_path, Kind.SN, 0, 20.0),
    ]  # fmt: skip
    assert list(failures(nodes, {}, {})) == ["sn-0", "sl-2", "ml-2", "ml-1", "sl-1"]
