"""Tasks from the ledger to processes and back: a real SN, a real chain, real SLs and programs."""

import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.common import task_api as api
from services.common.task_api import RunnerState, TaskPeerState
from tests.component.swop.stand import PROGRAM, Stand, peers

pytestmark = pytest.mark.swarm


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    made.standing.start_sn()
    yield made
    await made.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with an archive that holds hello.txt."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\n")
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as archive:
        archive.add(folder / "hello.txt", "hello.txt")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


async def test_two_swops_build_and_train(stand: Stand):
    one, two = stand.swop("swop-1"), stand.swop("swop-2")
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("run", "train 2", build, MIN_PEERS="4")
    await stand.assign(task, 4)
    view = await stand.ended()
    said = stand.story()
    assert view.state is RunnerState.COMPLETE, said
    assert [peer.description for peer in peers(view)] == ["training complete"] * 4
    models = [path.read_text() for swop in (one, two) for path in swop.folder.glob("data-*/*.txt")]
    assert len(models) == 4
    assert len(set(models)) == 1, "all trained the same model"
    await one.gone()
    await two.gone()
    logs = sorted(path.name for path in (one.usr / "logs").glob("*.log"))
    assert ["-s-0-" in logs[0], "-s-1-" in logs[1], "-u-0-" in logs[2], "-u-1-" in logs[3]]
    assert "Enrol was refused" not in said
    await stand.reset()
    await stand.until(lambda v: v.state is RunnerState.IDLE, "not reset")


async def test_a_program_without_a_session_completes(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("alone", "loopback", build), 1)
    view = await stand.ended()
    assert view.state is RunnerState.COMPLETE, stand.story()
    assert [peer.description for peer in peers(view)] == ["no swarm session"]
    await swop.gone()


async def test_a_program_that_crashes_fails_its_peer(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("broken", "crash", build), 1)
    view = await stand.ended()
    [peer] = peers(view)
    assert (view.state, peer.state) == (RunnerState.ERROR, TaskPeerState.ERROR)
    assert peer.description.startswith("ML exited with code 1: ")
    assert peer.description.endswith("ValueError: there is no data in /nowhere")
    await swop.gone()
    [log] = (swop.usr / "logs").glob("*-u-*")
    assert "Traceback" in log.read_text()
    await stand.assign("broken", 0, swop.uid)
    view = await stand.until(
        lambda v: [p.uid for p in peers(v)] != [peer.uid] and v.failed == 1, "not tried again"
    )
    assert view.state is RunnerState.ERROR


async def test_a_missing_image_is_said_at_once(stand: Stand):
    stand.swop("swop-1", nodes=1)
    await stand.listening()
    pull = "Tag: '1'\nRepoName: ml\nOrgAndReg: here/\nAuth: null"
    prereq = await stand.task("pull", api.TaskType.PULL_IMAGE, pull, outcome="here/ml:1")
    await stand.assign(await stand.swarm("early", "train 1", prereq), 1)
    view = await stand.ended()
    assert view.state is RunnerState.ERROR
    assert [peer.description for peer in peers(view)] == [
        "image here/ml:1 is missing on this host: run the task that makes it first"
    ]


async def test_what_the_policy_forbids_is_on_the_ledger(stand: Stand):
    stand.swop("swop-1", nodes=1, policy=f"binds: [{PROGRAM.parent}]\n")
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("forbidden", "crash", build), 1)
    view = await stand.ended()
    assert view.state is RunnerState.ERROR
    assert [peer.description for peer in peers(view)] == [
        "Entrypoint would start python3 on this host, without a container; process.entrypoints of "
        "the policy would allow it"
    ]


async def test_reset_in_mid_run_leaves_nothing(stand: Stand):
    swop = stand.swop("swop-1", nodes=2)
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("long", "idle", build)
    await stand.assign(task, 2)
    await stand.until(lambda v: v.active == 2, "not running")
    await stand.reset()
    await stand.until(lambda v: v.state is RunnerState.IDLE, "not reset")
    await swop.gone()
    await stand.assign(await stand.swarm("next", "loopback", build), 2)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()


async def test_content_for_each_node_reaches_its_program(stand: Stand, web: str):
    swop = stand.swop("swop-1")
    await stand.listening()
    body = (
        "ContentType: SWARMCONTENT\nOpsList:\n"
        f"- Operation: DOWNLOAD\n  Target: {web}/archive.tar.gz\n  Options: [Out: a.tar.gz]\n"
        "- Operation: EXTRACT\n  Target: a.tar.gz\n  Options: [Out: data]\n"
    )
    kind = api.TaskType.MAKE_SWARM_USER_CONTENT
    await stand.assign(await stand.task("content", kind, body, outcome="lib"), 1)
    view = await stand.ended()
    assert [peer.description for peer in peers(view)] == ["lib is ready"], stand.story()
    await stand.reset()
    build = await stand.image()
    shared = "Src: lib, Tgt: /tmp/content, MType: VOLUME"
    task = await stand.swarm("show", "copy /tmp/content/data/hello.txt", build, shared=shared)
    await stand.assign(task, 2)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()
    copies = sorted(swop.folder.glob("data-*/copy.txt"))
    assert [path.read_text() for path in copies] == ["hello\n"] * 2


async def test_kept_containers_stay(stand: Stand):
    swop = stand.swop("swop-1", nodes=1, SWOP_KEEP_CONTAINERS="True")
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("one", "loopback", build), 1)
    assert (await stand.ended()).state is RunnerState.COMPLETE
    await stand.reset()
    await stand.assign(await stand.swarm("two", "idle", build), 1)
    await swop.programs(2)
    await stand.reset()
    await stand.assign(await stand.swarm("three", "loopback", build), 1)
    assert (await stand.ended()).state is RunnerState.COMPLETE
    assert len(swop.containers()) == 6
    assert swop.running() == []


async def test_a_target_joins_and_tries_again(stand: Stand):
    one, two = stand.swop("swop-1"), stand.swop("swop-2")
    await stand.listening()
    pull = "Tag: '1'\nRepoName: ml\nOrgAndReg: here/\nAuth: null"
    await stand.task("pull", api.TaskType.PULL_IMAGE, pull, outcome="here/ml:1")
    await stand.assign("pull", 0, one.uid)
    view = await stand.until(lambda v: v.state is RunnerState.ERROR, "not failed")
    [failed] = peers(view)
    assert failed.description.startswith("a process engine cannot pull here/ml:1")
    assert [swop.uid for swop in view.swops if swop.enrolled] == [one.uid], "only the target"
    await stand.assign("pull", 0, two.uid)
    view = await stand.until(lambda v: v.failed == 2, "did not join")
    assert {peer.uid for peer in peers(view)} == {one.uid, two.uid}
    before = one.said().count("ENROLL TO Task : pull , opId : 1 - Ends")
    await stand.assign("pull", 0, one.uid)
    await stand.until(
        lambda v: one.said().count("ENROLL TO Task : pull , opId : 1 - Ends") > before,
        "did not try again",
    )


async def test_reset_while_it_starts_pairs(stand: Stand):
    swop = stand.swop("swop-1", nodes=4)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "idle", build), 4)
    await stand.until(lambda v: v.active == 4, "not enrolled")
    await stand.reset()
    await stand.assign(await stand.swarm("next", "loopback", build), 4)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()
    await swop.gone()


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"SWOP_PROFILE": "none.yaml"}, 2, "cannot read the profile (USR_DIR, SWOP_PROFILE)"),
        ({"SN_NODE_IP": ""}, 2, "no SN to use: set SN_NODE_IP"),
        ({"SN_API_SERVER_PORT": "1", "SWARM_START_PATIENCE": "0"}, 3, "no SN answers"),
        ({"SWOP_POLICY_FILE": "/none"}, 2, "cannot read the policy"),
        ({"SWARM_ID_CERT": "/none"}, 2, "/none"),
        ({"SWOP_ENGINE": "other"}, 2, "SWOP_ENGINE: Input should be 'docker' or 'process'"),
        ({"SWARM_LICENSE_MODE": "required"}, 2, "no license server is named"),
    ],
    ids=["profile", "no-sn", "sn-away", "policy", "certificate", "engine", "license"],
)
async def test_what_keeps_it_from_starting_is_said(tmp_path: Path, settings, code, said):
    stand = Stand(tmp_path)
    swop = stand.swop("swop-1", **settings)
    assert swop.wait() == code
    assert said in swop.said().splitlines()[-1]
    await stand.close()
