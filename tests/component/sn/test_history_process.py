"""``python -m services.sn.history`` as operators run it: real SNs, real TLS, exit codes."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from services.common.errors import ForbiddenError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.task_api import DEFAULT_TASKRUNNER, TaskPeerState
from services.sn import history
from tests.component.sn import tape
from tests.component.sn.conftest import PATIENCE
from tests.component.sn.swops import Operator, Swop
from tests.component.sn.test_many_sns import joining
from tests.pki import Pki

ROOT = Path(__file__).parents[3]


async def command(files, *arguments):
    """Exit code, output lines and error output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SWARM_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.sn.history", *arguments, cwd=ROOT,
        env={**environment, **files},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(3 * PATIENCE):
        out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


async def test_rounds_on_two_sns(swarm):
    first = await swarm.sn()
    second = await swarm.sn("2", **joining(first))
    await tape.some_rounds(swarm, first, 3)
    operator = swarm.pki.files(NodeKind.SWCI)
    both = ["--sn", first.endpoint, "--sn", second.endpoint]

    code, lines, err = await command(operator, *both)
    assert (code, err) == (0, "")
    assert lines[0] == f"contract    {DEFAULT_CONTRACT}"
    assert re.fullmatch(
        r"verified: \d+ blocks, \d+ transactions, 2 signers, head 0x[0-9a-f]{64}; "
        r"the same on 2 SNs", lines[-1],
    )  # fmt: skip
    rounds = [line.split() for line in lines if re.search(r" x1(,|$)", line)]
    assert [words[0] for words in rounds] == ["1", "2", "3"]
    assert [line.split(maxsplit=1)[1] for line in lines if " leaders " in line]
    assert [line for line in lines if re.search(r"left +sl\d \(\w{8}\): asked to", line)]

    code, lines, err = await command(operator, *both, "--json", "--last", "1")
    told = json.loads("\n".join(lines))
    assert (code, told["verified"], told["verdict"]["same_on"]) == (0, True, both[1::2])
    assert [record["round"] for record in told["generations"][0]["rounds"]] == [3]

    believed = await command(operator, *both[:2], "--json", "--last", "1", "--no-verify")
    unproven = json.loads("\n".join(believed[1]))
    assert (unproven["verified"], unproven["verdict"]) == (False, None)
    (proven,) = told["generations"][0]["rounds"]
    assert unproven["generations"][0]["rounds"] == [proven]

    code, _, err = await command(operator, *both, "--contract", "nope")
    assert (code, "no training contract named 'nope'" in err) == (5, True)
    code, _, err = await command(operator, *both, "--generation", "7")
    assert (code, "has no generation 7" in err) == (5, True)


async def test_tasks_and_runs(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    with pytest.raises(ForbiddenError):
        await swop.client.finalize("t")
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    await swop.report(1, TaskPeerState.ERROR, said="no such image")
    await operator.client.reset(DEFAULT_TASKRUNNER, "")
    await operator.assign()
    await swop.enrol(2)
    await swop.report(2, TaskPeerState.COMPLETE)
    files, here = swarm.pki.files(NodeKind.SWCI), ["--sn", sn.endpoint]

    code, lines, err = await command(files, *here, "--tasks")
    assert (code, err) == (0, "")
    assert lines[-1].startswith("verified: ")
    told = lines[lines.index("tasks") : -1]
    assert "t: PULL_IMAGE by me after ROOTTASK, makes an image (1 line, final)" in told[2]
    assert "refused    t: swop1" not in told[3], "its certificate was refused, no node was named"
    assert "refused    t: forbidden: certificate" in told[3]
    assert f"taskrunner {DEFAULT_TASKRUNNER}: COMPLETE" in told
    runs = [line for line in told if " needed" in line]
    assert [line.split()[0] for line in runs] == ["1", "2"]
    assert "ERROR     t (with 1 SWOP): 0 completed, 1 failed of 1 needed" in runs[0]
    assert "COMPLETE  t (with 1 SWOP): 1 completed, 0 failed of 1 needed" in runs[1]
    (failed,) = [line for line in told if "failed     swop1" in line]
    assert failed.endswith("no such image")

    code, lines, _ = await command(files, *here, "--tasks", "--json")
    proven = json.loads("\n".join(lines))
    code, lines, _ = await command(files, *here, "--tasks", "--json", "--no-verify")
    believed = json.loads("\n".join(lines))
    for part in ("tasks", "task_notes", "taskrunners"):
        assert proven[part] == believed[part]
    (runner,) = proven["taskrunners"]
    assert [(run["number"], run["state"]) for run in runner["runs"]] == [
        (1, "ERROR"), (2, "COMPLETE"),
    ]  # fmt: skip
    assert [task["body"] for task in proven["tasks"]] == [[], ["Tag: latest"]]
    assert "other code" not in str(proven["verdict"]["not_checked"])
    assert proven["verdict"]["not_checked"] == []
    code, lines, _ = await command(files, *here)
    assert (code, "tasks" in lines) == (0, False)


async def test_whose_certificate(swarm, tmp_path):
    sn = await swarm.sn()
    here = ["--sn", sn.endpoint]
    code, _, err = await command({}, *here)
    assert (code, "SWARM_ID_KEY is not set" in err) == (2, True)
    code, _, err = await command(swarm.pki.files(NodeKind.SL), *here)
    assert (code, "certificate of role SL: SNs show their chain to SN, SWCI, SWOP" in err) == (
        2, True,
    )  # fmt: skip
    code, _, err = await command(Pki(tmp_path / "other").files(NodeKind.SWCI), *here)
    assert (code, "error: " in err, "Traceback" in err) == (3, True, False)

    files = swarm.pki.files(NodeKind.SWOP)
    given = [
        "--cert", files["SWARM_ID_CERT"], "--key", files["SWARM_ID_KEY"],
        "--capath", files["SWARM_ID_CAPATH"],
    ]  # fmt: skip
    code, lines, err = await command({}, *here, *given)
    assert (code, err) == (0, "")
    assert lines[-1].startswith("verified: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--sn"),
        (["--sn", "host:0"], "HOST:PORT"),
        (["--sn", "h:1", "--sn", "h:1"], "the same --sn twice"),
        (["--sn", "h:1", "--rounds", "5-2"], "is not A, A-B or A-"),
        (["--sn", "h:1", "--last", "0"], "not a number from 1 on"),
        (["--sn", "h:1", "--registry", "0x12"], "is not an address"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        history.parse(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
