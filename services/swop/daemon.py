"""A SWOP's life: profile, policy, identity, licence, engine, then `node.Node`."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from pathlib import Path

from services.common.container import container_name
from services.common.errors import ConfigError, NotFoundError, SwarmError
from services.common.identity_watch import kept_identity
from services.common.ids import NodeId, NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.presence import VERSION
from services.common.settings import service_address
from services.common.sn_api import NodeRegistration
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from services.common.task_definition import TaskDefinition, from_chain
from services.swop.adapters.docker_self import sl_image
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.adapters.state import held_state
from services.swop.adapters.threads import in_thread
from services.swop.adapters.work import Tools
from services.swop.core.engine import Engine
from services.swop.core.plan import Surroundings, sn_of
from services.swop.core.policy import DEFAULT_POLICY, Policy, parse_policy
from services.swop.core.profile import DEFAULT_APLS_PORT, Profile, parse
from services.swop.node import Node
from services.swop.settings import SwopSettings

log = logging.getLogger("swarm.swop")

LOOPBACK = "127.0.0.1"
LARGEST_FILE = 1024 * 1024
"""Bytes of a profile or a policy."""
PAUSE_SECONDS = 2.0


async def serve(settings: SwopSettings) -> None:
    """Be a SWOP until told to stop.

    Raises:
        SwarmError: it cannot start.
    """
    profile = _profile(settings)
    policy = _policy(settings, profile)
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(kept_identity(settings, NodeKind.SWOP))
        endpoint = _endpoint(sn_of(profile, settings.sn()))
        uid = stack.enter_context(held_state(settings.state_dir(), settings.swarm_node_uid))
        engine = _engine(settings, policy)
        stack.push_async_callback(engine.close)
        await engine.check()
        patience = settings.swarm_start_patience
        await stack.enter_async_context(
            held_license(settings, identity, Feature.SWOP, uid, "SWOP", patience=patience)
        )
        log.info("Attempting to contact API-Server at : %s", endpoint)
        sn = SnClient(identity, [endpoint], patience)
        stack.push_async_callback(sn.close)
        await sn.version()
        log.info("API-Server is UP!")
        tools = await _tools(settings, profile, policy, uid, engine, sn)
        me = NodeRegistration(
            kind=NodeKind.SWOP, endpoint=endpoint,
            container=container_name(settings.swarm_container_name), version=VERSION,
        )  # fmt: skip
        await Node(tools, sn, me, settings.swop_on_stop).live()


def _profile(settings: SwopSettings) -> Profile:
    path = settings.usr_dir / settings.swop_profile
    log.info("SL Nodes validation is started")
    profile, warnings = parse(_read(path, "the profile (USR_DIR, SWOP_PROFILE)"), path.name)
    for warning in warnings:
        log.warning(warning)
    if profile.apls is not None and profile.apls.port != DEFAULT_APLS_PORT:
        log.info("APLS configured with non-default port : %d", profile.apls.port)
    log.info("profile %s: group %s, taskrunner %s, nodes: %d", path.name, profile.groupname,
             profile.taskrunner, len(profile.nodes))  # fmt: skip
    return profile


def _policy(settings: SwopSettings, profile: Profile) -> Policy:
    path = settings.swop_policy_file
    if path is None and profile.policy is not None:
        path = settings.usr_dir / profile.policy
    if path is None:
        log.info("no policy file: the defaults hold, which are safe")
        return DEFAULT_POLICY
    return parse_policy(_read(path, "the policy"), path.name)


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read {what} {path}: {exc}") from exc


def _endpoint(sn: dict[str, str]) -> str:
    """``host:port`` of the SN's API."""
    if service := sn.get("SN_API_SERVICE"):
        host, port = service_address(service)
        return f"{host}:{port}"
    return f"{sn['SN_NODE_IP']}:{sn['SN_API_SERVER_PORT']}"


def _engine(settings: SwopSettings, policy: Policy) -> Engine:
    if settings.swop_engine == "process":
        folder = settings.swop_process_dir or settings.state_dir() / "engine"
        own = settings.this_node_ip
        bind = settings.swarm_bind_ip if own else LOOPBACK
        refused = (*policy.environment_refused, *policy.process.environment_refused)
        return ProcessEngine(folder.absolute(), own or LOOPBACK, bind, refused)
    from services.swop.adapters.docker_client import Access
    from services.swop.adapters.docker_engine import DockerEngine

    return DockerEngine(Access.from_env(os.environ))


async def _tools(
    settings: SwopSettings, profile: Profile, policy: Policy, uid: NodeId, engine: Engine,
    sn: SnClient,
) -> Tools:  # fmt: skip
    own = await engine.own_image()
    image = sl_image(own, settings.swop_sl_image)
    around = Surroundings(
        swop=uid, sl_image=image, sn=settings.sn(), license=settings.license(),
        user=settings.user(), proxies=settings.proxies(),
    )  # fmt: skip
    tasks = TaskClient(sn)

    async def task(name: str) -> tuple[TaskDefinition, str]:
        info = await tasks.task(name)
        definition = await in_thread(lambda: from_chain(info))  # a large one takes a second
        return definition, (await tasks.task(definition.prereq)).outcome

    async def had_session(peer: NodeId) -> bool:
        while True:
            try:
                return await _had_session(sn, peer)
            except SwarmError as exc:
                log.warning("cannot ask whether peer %s trained: %s", peer, exc)
            await asyncio.sleep(PAUSE_SECONDS)

    usr_dir = settings.usr_dir.absolute()
    return Tools(
        runner=profile.taskrunner, engine=engine, profile=profile, policy=policy, around=around,
        usr_dir=usr_dir, scratch=settings.state_dir().absolute() / "scratch",
        isolated=settings.swop_engine != "process",
        own_images=tuple(each for each in (own, image) if each),
        keep_containers=settings.swop_keep_containers, grace=settings.swop_stop_grace, task=task,
        had_session=had_session,
    )  # fmt: skip


async def _had_session(sn: SnClient, peer: NodeId) -> bool:
    """Whether a node was ever enrolled in a training that the SN knows."""
    for summary in await sn.contracts():
        try:
            view = (await sn.state(summary.name)).view
        except NotFoundError:
            continue  # an SN that is behind
        if any(each.uid == peer for each in view.peers):
            return True
    return False
