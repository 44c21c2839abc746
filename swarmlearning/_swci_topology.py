"""The picture of a swarm that ``Swci.plotTopology`` draws."""

import warnings
from collections.abc import Sequence
from typing import Any

from swarmlearning._swci_answer import COLUMNS

_SNS = ("SENTINEL", "SN", "FULLNODE")
_NAME, _SEED, _OTHERS = "ContainerName", 5, "lightgrey"


def check_columns(attrs: Sequence[str]) -> None:
    """Check what a caller wants to see of each node.

    Raises:
        RuntimeError: LIST NODES has no such column.
    """
    unknown = [attr for attr in attrs if attr not in COLUMNS]
    if unknown:
        raise RuntimeError(f"no such attributes: {unknown}. LIST NODES has {', '.join(COLUMNS)}")


def edges(nodes: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Who belongs to whom, by UUID; and the SNs, which form one network, each with the first."""
    known = {node["UUID"] for node in nodes}
    sns = [node["UUID"] for node in nodes if node["NodeType"] in _SNS]
    joined = [(sns[0], sn) for sn in sns[1:]]
    return joined + [
        (node["ParentUUID"], node["UUID"])
        for node in nodes
        if node["NodeType"] not in _SNS and node["ParentUUID"] in known
    ]


def label(node: dict[str, str], attrs: Sequence[str]) -> str:
    """What stands at a node."""
    name = node[_NAME] or node["HostIP"]
    return "\n".join([node["NodeType"], name, *(node[attr] for attr in attrs if attr != _NAME)])


def plot(nodes: list[dict[str, str]], colours: dict[str, str], attrs: Sequence[str]) -> None:
    """Draw into matplotlib's current axes, and show that where the backend can.

    Args:
        nodes: rows of LIST NODES.
        colours: of ``SN``, ``SWOP`` and ``SL``.
        attrs: columns to show besides type and name.

    Raises:
        RuntimeError: networkx or matplotlib is not installed.
    """
    networkx, plt = _libraries()
    graph = networkx.Graph()
    graph.add_nodes_from(node["UUID"] for node in nodes)
    graph.add_edges_from(edges(nodes))
    networkx.draw_networkx(
        graph,
        networkx.spring_layout(graph, seed=_SEED),
        labels={node["UUID"]: label(node, attrs) for node in nodes},
        node_color=[
            colours.get("SN" if node["NodeType"] in _SNS else node["NodeType"], _OTHERS)
            for node in nodes
        ],
        node_size=1800,
        font_size=8,
    )
    plt.axis("off")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")  # nothing to show on
        plt.show()


def _libraries() -> tuple[Any, Any]:
    try:
        import matplotlib.pyplot as plt
        import networkx
    except ImportError as exc:
        raise RuntimeError(
            "plotTopology needs networkx and matplotlib: pip install 'swarmlearning[swci]'"
        ) from exc
    return networkx, plt
