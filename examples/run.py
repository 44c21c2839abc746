"""Run an example as a swarm of real processes, and show what it came to.

    python -m examples.run digits [--sns 3] [--flow swop] [--run-dir DIR]

`--flow swop` lets two SWOPs start the SL/ML pairs, as one SWCI script tells them. Starts one more
process beside the swarm, which trains on all the data in one place, for comparison. Leaves
accuracy.png and everything else in the run folder. The last line that it prints is one JSON object;
the exit code is not 0 when a node failed.
"""

import argparse
import asyncio
import json
import runpy
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from compose.output import TextOutput
from compose.plan import Request
from compose.run_folder import shown
from compose.session import Options, run_session
from compose.status import columns
from services.common.errors import ConfigError, SwarmError

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Example:
    nodes: int
    min_peers: int
    title: str
    quorum_seconds: float = 30.0  # wait for all while all are there; lost ones are noticed before
    flow_nodes: int = 0  # how many pairs the SWOPs' profiles have; 0: it has no flow


EXAMPLES = {
    "digits": Example(
        5, 4, "Handwritten digits: five organisations with two digits each", flow_nodes=4
    ),
    "digits-hf": Example(5, 4, "The same digits with a Hugging Face transformer"),
    "digits-keras": Example(5, 4, "Handwritten digits in Keras: two digits each"),
    "digits-sklearn": Example(5, 4, "Handwritten digits in scikit-learn: two digits each"),
    "breast-cancer": Example(3, 3, "Breast cancer: three hospitals with 100 cases each"),
}


STUDIES = {"merge-methods": "merge-methods", "nature": "breast-cancer"}
"""Examples that train many swarms: each has a study.py with arguments of its own, and uses the
data and the training program in a folder."""


def options_of(name, run_dir, sns=1):
    """What to run: N organisations' programs as the swarm, and one that has all the data."""
    example = EXAMPLES[name]
    program = ("python", str(HERE / name / "train.py"), "--node")
    request = Request(
        example.nodes,
        example.min_peers,
        (*program, "{index}"),
        quorum_seconds=example.quorum_seconds,
        sns=sns,
    )
    return Options(request, run_dir, name, jobs={"central": (*program, "0")})


def flow_of(name, run_dir, sns=1):
    """What to run: the example's SWCI script, and one program that has all the data."""
    example = EXAMPLES[name]
    if not example.flow_nodes:
        having = ", ".join(each for each, one in EXAMPLES.items() if one.flow_nodes)
        raise ConfigError(f"{name} has no swci/ and swop/ folders yet; --flow swop runs {having}")
    program = ("python", str(HERE / name / "train.py"), "--node", "0")
    jobs = {"central": (*program, "--organisations", str(example.flow_nodes))}
    return Options(Request(0, sns=sns), run_dir, f"{name}-swop", flow=HERE / name, jobs=jobs)


def result_of(run_dir, index, flow):
    """What node `index` wrote, wherever it ran."""
    folder = run_dir / "project" / f"user-{index}" if flow else run_dir / "nodes" / f"ml-{index}"
    return read(folder / "result.json")


def read(path):
    """A result that a program wrote; empty where it did not come that far."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def value(result, way, metric):
    return result.get(way, {}).get(metric)


def rounded(number):
    return None if number is None else round(number, 4)


def table(nodes, central, metrics):
    """Every node alone and as a swarm, and all the data in one place."""
    head = ["", "", *(f"{metric} {way}" for metric in metrics for way in ("alone", "swarm"))]
    rows = [
        [f"node {index}", result.get("holds", "no result"), *_cells(result, metrics)]
        for index, result in enumerate(nodes, start=1)
    ]
    rows.append(["central", central.get("holds", "no result"), *_cells(central, metrics)])
    return columns([head, *rows])


def _cells(result, metrics):
    numbers = [value(result, way, metric) for metric in metrics for way in ("alone", "swarm")]
    return ["" if number is None else f"{number:.3f}" for number in numbers]


def summary(name, outcome, nodes, central, seconds):
    """The object of the last line. `swarm` is the worst node's, should they ever differ."""

    def of_all(metric):
        reached = [rounded(value(result, "swarm", metric)) for result in nodes]
        known = [number for number in reached if number is not None]
        return {
            "local": [rounded(value(result, "alone", metric)) for result in nodes],
            "swarm": min(known) if known else None,
            "central": rounded(value(central, "alone", metric)),
        }

    found = {"example": name, "nodes": len(nodes), **of_all("accuracy")}
    if "auc" in central.get("alone", {}):
        found |= {f"{way}_auc": number for way, number in of_all("auc").items()}
    return found | {"rounds": outcome.rounds, "seconds": seconds, "run_dir": outcome.run_dir}


def main():
    if sys.argv[1:2] and sys.argv[1] in STUDIES:
        path = str(HERE / sys.argv[1] / "study.py")
        sys.path.insert(0, str(HERE / STUDIES[sys.argv[1]]))
        sys.argv = [path, *sys.argv[2:]]
        runpy.run_path(path, run_name="__main__")  # exits
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=(*EXAMPLES, *STUDIES))
    parser.add_argument("--sns", type=int, default=1, help="SN nodes; default 1")
    parser.add_argument("--flow", choices=("run", "swop"), default="run", help=(
        "who starts the SL/ML pairs: this program (run, default), or two SWOPs told by SWCI (swop)"
    ))  # fmt: skip
    parser.add_argument("--run-dir", type=Path, help="new or empty folder; default runs/<time>-...")
    given = parser.parse_args()
    flow, example = given.flow == "swop", EXAMPLES[given.example]
    try:
        make = flow_of if flow else options_of
        options = make(given.example, given.run_dir, given.sns)
        outcome = asyncio.run(run_session(options, TextOutput(sys.stdout)))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    run_dir = Path(outcome.run_dir)
    count = example.flow_nodes if flow else example.nodes
    nodes = [result_of(run_dir, index, flow) for index in range(1, count + 1)]
    central = read(run_dir / "nodes" / "central" / "result.json")
    if any(nodes) and not outcome.signal:
        from examples import figure

        title = f"{example.title.split(':')[0]}: {count} organisations"
        figure.draw(title if flow else example.title, nodes, central, run_dir / "accuracy.png")
        metrics = ["accuracy", "auc"] if "auc" in central.get("alone", {}) else ["accuracy"]
        print("", *table(nodes, central, metrics), "", sep="\n")
        print(f"accuracy curves: {shown(run_dir / 'accuracy.png')}")
        if not outcome.ledger:
            print(f"every round:     {shown(run_dir / 'ledger.json')}")
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps(summary(given.example, outcome, nodes, central, seconds)))
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
