"""What is said about the SNs, and what the policy is told, as their processes come and go."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from compose.network import Network
from compose.plan import Layout, Planner, Ports, Request
from compose.processes import State


class Said(list):
    def say(self, text):
        self.append(text)


class Nodes:
    """Stands for `Processes`: three SNs, each of which runs or ended."""

    def __init__(self, count, log):
        self.restarting = set()
        plan = SimpleNamespace(log=log)
        self.nodes = {
            f"sn-{index}": SimpleNamespace(
                exit_code=None, state=State.RUNNING, log_from=0, plan=plan
            )
            for index in range(1, count + 1)
        }  # fmt: skip

    def is_gone(self, name):
        return self.nodes[name].exit_code is not None and name not in self.restarting

    def end(self, name, code=-9):
        self.nodes[name].exit_code, self.nodes[name].state = code, State.EXITED

    def back(self, name):
        self.nodes[name].exit_code, self.nodes[name].state = None, State.RUNNING


@pytest.fixture
def make(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    loop = SimpleNamespace(time=lambda: clock.now)
    monkeypatch.setattr("compose.network.asyncio.get_running_loop", lambda: loop)

    def network(count, patience=120.0):
        layout = Layout(Path("/run"), Path("/scratch"), Path("/certs"))
        planner = Planner(
            Request(0, sns=count), layout, Ports(1, (), ()), {}, {}, Path("/home/u")
        )  # fmt: skip
        nodes, said = Nodes(count, tmp_path / "log"), Said()
        return Network(planner, nodes, said, patience), nodes, said, clock

    return network


def test_a_death_is_told_once_with_its_reason(make, tmp_path):
    network, nodes, said, _ = make(3)
    (tmp_path / "log").write_text("line\nExiting SN. Reason: the disk is full\n")
    assert network.look().gone == ()
    nodes.end("sn-2", code=3)
    assert network.look().gone == ("sn-2",)
    network.look()
    assert said == ["sn-2 ended (exit code 3: the disk is full): 2 of 3 SNs run"]
    assert network.serves
    assert network.waiting == ""


def test_without_a_majority_the_way_out_is_said_and_the_time_runs(make):
    network, nodes, said, clock = make(3)
    nodes.end("sn-1")
    nodes.end("sn-3")
    network.look()
    assert said[2:] == [
        "the chain waits: 1 of 3 SNs run and it needs 2. Bring one back, within 120 s: "
        "python -m compose.local restart sn-1 --run-dir /run"
    ]
    clock.now += 119.0
    assert network.look().hopeless == ""
    clock.now += 1.0
    assert "none returned in 120 s" in network.look().hopeless
    nodes.back("sn-3")
    assert network.look().hopeless == ""
    assert said[3:] == ["2 of 3 SNs run: enough for the chain to go on"]
    nodes.end("sn-3")
    assert network.look().short_for == 0.0  # the time begins anew


def test_one_that_is_being_restarted_is_not_gone(make):
    network, nodes, said, _ = make(1)
    nodes.restarting.add("sn-1")
    nodes.end("sn-1")
    assert network.look().hopeless == ""
    assert not network.serves
    nodes.restarting.clear()
    assert network.look().hopeless == "sn-1 ended (killed by SIGKILL)"
    assert said == []  # the reason of the run's end says it
