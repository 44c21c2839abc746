"""The work of one peer: what each type of task means for an engine."""

import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import urlsplit

from services.common.ids import NodeId
from services.common.task_body import (
    AuthFile,
    ContentType,
    Credentials,
    MakeSwarmUserContent,
    MakeUserContainer,
    MountType,
    PullImage,
    RunSwarm,
)
from services.common.task_checks import is_image
from services.common.task_definition import TaskDefinition
from services.swop.adapters import content
from services.swop.adapters.pair_shell import PairShell
from services.swop.adapters.threads import in_thread
from services.swop.core import events as ev
from services.swop.core.engine import (
    LABEL_GROUP,
    LABEL_PEER,
    LABEL_RUN,
    LABEL_SWOP,
    LABEL_TASK,
    BuildSpec,
    Engine,
    EngineError,
    Found,
    PullSpec,
)
from services.swop.core.node_definition import NodeDefinition
from services.swop.core.outcome import Outcome
from services.swop.core.plan import PairPlan, Surroundings, plan_pair, proxies_of
from services.swop.core.policy import Policy
from services.swop.core.profile import Profile
from services.swop.core.refusals import (
    check_task,
    dockerfile_refusals,
    fill_refusals,
    refusals,
    url_refusals,
)

log = logging.getLogger("swarm.swop")

LONGEST_DOCKERFILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Tools:
    """What all work of a SWOP shares."""

    runner: str
    """Name of the taskrunner."""
    engine: Engine
    profile: Profile
    policy: Policy
    around: Surroundings
    usr_dir: Path
    scratch: Path
    """Folder for files on their way into volumes."""
    isolated: bool
    """False where tasks run without containers."""
    own_images: tuple[str, ...]
    keep_containers: bool
    grace: float
    """Seconds that ML programs have after a reset."""
    task: Callable[[str], Coroutine[Any, Any, tuple[TaskDefinition, str]]]
    """A task by its name, and the outcome of its prerequisite."""
    had_session: Callable[[NodeId], Coroutine[Any, Any, bool]]

    def label(self, run: int) -> str:
        """What containers of a run carry."""
        return f"{self.runner}/{run}"

    def labels(self, run: int, peer: NodeId | None = None) -> dict[str, str]:
        """By which containers of a run, or of one peer of it, are found."""
        labels = {LABEL_SWOP: self.around.swop, LABEL_RUN: self.label(run)}
        return labels if peer is None else {**labels, LABEL_PEER: peer}


class Work:
    """Does the work of single peers.

    Args:
        tools: what it needs.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools, self._engine = tools, tools.engine

    def check(self, definition: TaskDefinition) -> None:
        """Hold a task against the policy.

        Raises:
            EngineError: it must not run here.
        """
        tools = self._tools
        found = check_task(
            tools.policy, tools.profile, definition, isolated=tools.isolated,
            own_images=tools.own_images,
        )  # fmt: skip
        _refuse(found)

    async def outcome(
        self, command: ev.Start, peer: ev.Peer, definition: TaskDefinition, image: str
    ) -> Outcome:
        """Do the work of one peer.

        Args:
            command: which run.
            peer: which peer.
            definition: the task.
            image: outcome of its prerequisite.

        Raises:
            SwarmError: it cannot be done.
        """
        body = definition.body
        match body:
            case RunSwarm():
                return await self._pair(command, peer, definition, image)
            case MakeUserContainer():
                await self._build(definition, body)
            case MakeSwarmUserContent():
                await self._content(command, definition, body)
            case PullImage():
                await self._pull(body)
            case _:
                assert_never(body)
        return Outcome.complete(f"{definition.outcome} is ready")

    # --- RUN_SWARM

    async def _pair(
        self, command: ev.Start, peer: ev.Peer, definition: TaskDefinition, image: str
    ) -> Outcome:
        tools = self._tools
        node = tools.profile.nodes[peer.position]
        if not is_image(image):
            made = f"its outcome {image[:60]!r} is no image"
            raise EngineError(
                f"Prereq {definition.prereq[:40]}: {made}. Name the task that builds or pulls it"
            )
        existing = await self._engine.find(tools.labels(command.run, peer.uid))
        volumes = await self._volumes(node, definition)
        plan = plan_pair(
            tools.profile, node, definition, image, tools.label(command.run), peer.uid,
            tools.around, volumes,
        )  # fmt: skip
        await self._check_pair(plan, existing)
        shell = PairShell(self._engine, lambda: tools.had_session(peer.uid), tools.usr_dir / "logs")
        return await shell.run(plan, existing, fresh=command.fresh)

    async def _check_pair(self, plan: PairPlan, existing: Sequence[Found]) -> None:
        _refuse(
            [
                *refusals(self._tools.policy, plan.sl),
                *refusals(self._tools.policy, plan.ml),
            ]
        )
        log.info("SWOPRunTask: Profile validated")
        log.info("SWOPRunTask: SL Image Name : %s", plan.sl.image)
        words = {
            "image": plan.ml.image, "entrypoint": plan.ml.entrypoint, "command": plan.ml.command,
            "working_dir": plan.ml.working_dir, "environment": sorted(plan.ml.env),
            "mounts": [f"{each.source}:{each.target}" for each in plan.ml.mounts],
        }  # fmt: skip
        log.info(
            "SWOPRunTask: Arguments passed to User container idx : %s", plan.ml.labels["swarm.idx"]
        )
        log.info("%s", words)
        for each in (plan.sl, plan.ml):
            if not existing and not await self._engine.has_image(each.image):
                raise EngineError(
                    f"image {each.image} is missing on this host: run the task that makes it first"
                )

    async def _volumes(self, node: NodeDefinition, definition: TaskDefinition) -> dict[str, str]:
        """SWARMCONTENT has one volume for each node: which ones to take for which names.

        Raises:
            EngineError: a volume is missing.
        """
        assert isinstance(definition.body, RunSwarm)
        shared = definition.body.shared_content
        taken = {}
        for name in [each.src for each in shared if each.mtype is MountType.VOLUME]:
            if await self._engine.has_volume(name):
                continue
            taken[name] = f"{name}-{node.idx}"
            if not await self._engine.has_volume(taken[name]):
                raise EngineError(
                    f"neither volume {name} nor {taken[name]} is on this host: run the task that "
                    "makes it first"
                )
        private = node.privatedata
        named = private is not None and private.mtype is MountType.VOLUME
        if private is not None and named and not await self._engine.has_volume(private.src):
            raise EngineError(
                f"volume {private.src} (privatedata) is missing on this host: make it first"
            )
        return taken

    # --- the other types

    async def _build(self, definition: TaskDefinition, body: MakeUserContainer) -> None:
        log.info("SWOPBuildTask: Validating profile")
        tools, dockerfile = self._tools, body.dockerfile()
        if (url := body.url()) is not None:
            dockerfile = await content.fetch_text(
                url, LONGEST_DOCKERFILE, content.Limits(), self._url_refused
            )
            _refuse(dockerfile_refusals(tools.policy, dockerfile, url))
        if body.build_context is not None and not await self._engine.has_volume(body.build_context):
            raise EngineError(
                f"volume {body.build_context} (BuildContext) is missing on this host: make it first"
            )
        tag = definition.outcome
        if ":" not in tag.rpartition("/")[2]:
            tag += ":latest"
        spec = BuildSpec(
            tag=tag, dockerfile=dockerfile, context_volume=body.build_context,
            build_args=proxies_of(tools.profile, tools.around.proxies),
            labels=self._made_by(definition),
        )  # fmt: skip
        await self._engine.build(spec, lambda line: log.info("build %s: %s", tag, line))

    async def _pull(self, body: PullImage) -> None:
        auth = body.auth
        spec = PullSpec(
            body.image(),
            auth_file=auth.path if isinstance(auth, AuthFile) else None,
            username=auth.username if isinstance(auth, Credentials) else None,
            password=auth.password if isinstance(auth, Credentials) else None,
        )
        await self._engine.pull(spec)

    async def _content(
        self, command: ev.Start, definition: TaskDefinition, body: MakeSwarmUserContent
    ) -> None:
        tools = self._tools
        names = [definition.outcome]
        if body.content_type is ContentType.SWARMCONTENT:
            names = [f"{definition.outcome}-{node.idx}" for node in tools.profile.nodes]
        for name in names:
            labels = await self._engine.volume_labels(name)
            _refuse(fill_refusals(tools.policy, name, labels))
        place = tools.scratch / f"content-{command.run}-{secrets.token_hex(4)}"
        folder = await in_thread(lambda: content.clean(place))
        try:
            await content.make_content(folder, body.steps, content.Limits(), self._url_refused)
            for name in names:
                await self._engine.make_volume(name, self._made_by(definition))
                await self._engine.put_files(name, folder)
        finally:
            await in_thread(lambda: content.remove(folder))

    def _url_refused(self, url: str) -> str | None:
        if not urlsplit(url).hostname:
            return f"{url} names no host"
        found = url_refusals(self._tools.policy, url, "the task")
        return found[0] if found else None

    def _made_by(self, definition: TaskDefinition) -> Mapping[str, str]:
        return {
            LABEL_GROUP: self._tools.profile.groupname,
            LABEL_SWOP: self._tools.around.swop,
            LABEL_TASK: definition.name,
        }


def _refuse(found: Sequence[str]) -> None:
    """Refuse what the policy does not allow; the ledger has room for the first reason.

    Raises:
        EngineError: there is one.
    """
    for reason in found:
        log.warning("the policy refuses: %s", reason)
    if found:
        raise EngineError(found[0], "policy")
