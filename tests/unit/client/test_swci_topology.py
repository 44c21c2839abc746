"""``getNodes`` and ``plotTopology``: LIST NODES as data and as a picture."""

import sys

import pytest

import swarmlearning.swci as sw
from swarmlearning import _swci_topology as topology
from tests.unit.client.swci_stand_in import StandIn

LINES = [
    "NodeType, HostIP, Port, ContainerName, UUID, ParentUUID, i-am-alive",
    "  SENTINEL, 10.0.0.1, 30304, sn1, u1, , 2026-11-25 10:00:00",
    "SN, 10.0.0.2, 30304, sn2, u2, u1, 2026-11-25 10:00:00",
    "SWOP, 10.0.0.2, -, swop2, u3, u2, 2026-11-25 10:00:00",
    "SL, 10.0.0.2, 30305, , u4, u2, 2026-11-25 10:00:00",
    "SL, 10.0.0.3, 30305, lost, u5, u9, 2026-11-25 10:00:00, more",
]


@pytest.fixture
def server():
    with StandIn() as server:
        server.says("list Nodes", LINES)
        yield server


@pytest.fixture
def s(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    with sw.Swci("127.0.0.1", server.port, logLv=50) as s:
        yield s


@pytest.fixture
def plt():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_nodes_have_names(s):
    nodes = s.getNodes()
    assert nodes[3] == {
        "NodeType": "SL", "HostIP": "10.0.0.2", "Port": "30305", "ContainerName": "",
        "UUID": "u4", "ParentUUID": "u2", "i-am-alive": "2026-11-25 10:00:00",
    }  # fmt: skip
    assert [node["UUID"] for node in nodes] == ["u1", "u2", "u3", "u4", "u5"]


def test_no_nodes(s, server):
    server.says("list Nodes", LINES[:1])
    assert s.getNodes() == []
    assert s.getErrors() is None


@pytest.mark.parametrize("answer", [["ERROR : no context"], [LINES[0], "SN, 1"]])
def test_nodes_that_cannot_be_read(s, server, answer):
    server.says("list Nodes", answer)
    assert s.getNodes() == []
    assert s.getErrors().startswith("ERROR : ")
    with pytest.raises(RuntimeError, match="ERROR : "):
        s.plotTopology("y", "g", "b")


def test_edges_join_sns_and_follow_known_parents(s):
    assert topology.edges(s.getNodes()) == [("u1", "u2"), ("u2", "u3"), ("u2", "u4")]


def test_the_picture_shows_every_node_in_its_colour(s, plt):
    from matplotlib.colors import to_rgba

    assert s.plotTopology("yellow", "green", "blue", attrs=["Port"]) is None
    axes = plt.gca()
    assert {text.get_text() for text in axes.texts} == {
        "SENTINEL\nsn1\n30304", "SN\nsn2\n30304", "SWOP\nswop2\n-", "SL\n10.0.0.2\n30305",
        "SL\nlost\n30305",
    }  # fmt: skip
    dots = axes.collections[0]
    assert [tuple(colour) for colour in dots.get_facecolors()] == [
        to_rgba(name) for name in ("yellow", "yellow", "green", "blue", "blue")
    ]


def test_the_picture_of_nobody(s, server, plt):
    server.says("list Nodes", LINES[:1])
    s.plotTopology()
    assert list(plt.gca().texts) == []


def test_an_unknown_attribute_is_refused(s, server):
    with pytest.raises(RuntimeError, match=r"no such attributes: \['Colour'\]"):
        s.plotTopology(attrs=["Colour"])
    assert server.commands == []


@pytest.mark.parametrize("missing", ["networkx", "matplotlib"])
def test_missing_libraries_are_named(s, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(RuntimeError, match=r"pip install 'swarmlearning\[swci\]'"):
        s.plotTopology()
