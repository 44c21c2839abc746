"""Commands about contexts."""

from services.common.errors import ConfigError, ProtocolError, SnUnavailableError, SwarmError
from services.swci.adapters.session import Context, Session, Talk, learn_sns
from services.swci.core import commands as c
from services.swci.core.commands import Address
from services.swci.core.reply import Reply, fields, listed, success

UP = "API Server is UP!"
MOST_CONTEXTS = 200
MOST_VARIABLES = 1000


async def create_context(session: Session, command: c.CreateContext, talk: Talk) -> Reply:
    """CREATE CONTEXT name WITH IP ip [port]."""
    return await _create(session, command.name, Address(command.ip, command.port), False, talk)


async def create_context_service(
    session: Session, command: c.CreateContextService, talk: Talk
) -> Reply:
    """CREATE CONTEXT name WITH SERVICE fqdn[:port]."""
    return await _create(session, command.name, command.service, True, talk)


async def _create(
    session: Session, name: str, address: Address, is_service: bool, talk: Talk
) -> Reply:
    """Creating the same context once more is harmless: notebooks do it."""
    known = session.contexts.get(name)
    if known is not None and known.address != address:
        raise ProtocolError(
            f"context {name} exists already, with {known.address}: choose another name",
            "name-taken",
        )
    if len(session.contexts) >= MOST_CONTEXTS:
        raise ProtocolError(f"a session holds at most {MOST_CONTEXTS} contexts", "too-many")
    if trouble := await session.connect.probe(address):
        raise SnUnavailableError(f"cannot reach the API server. {trouble.why}")
    talk.line(UP)
    if known is None:
        swarm = session.connect([str(address)])
        try:
            learn_sns(swarm.sn, await swarm.sn.nodes())
        except SwarmError:
            await swarm.sn.close()
            raise
        session.contexts[name] = Context(name, address, is_service, swarm)
    return success(
        f"CONTEXT CREATED : {name}",
        data={"context": name, "host": address.host, "port": address.port},
    )


async def switch_context(session: Session, command: c.SwitchContext, _talk: Talk) -> Reply:
    """SWITCH CONTEXT name: needs no answer of the SN, so it works while that is down."""
    context = session.context(command.context)
    session.active = context.name
    return success(f"DEFAULT CONTEXT SET TO : {context.name}", data={"context": context.name})


async def get_info(session: Session, command: c.GetContextInfo, _talk: Talk) -> Reply:
    """GET CONTEXT INFO [name]."""
    context = session.context(command.context)
    others = [sn for sn in context.swarm.sn.sns if sn != str(context.address)]
    return fields(
        {
            "CONTEXT_NAME": context.name,
            "CONTEXT_TYPE": "SERVICE" if context.is_service else "IP",
            "API_SERVER": context.address.host,
            "API_PORT": context.address.port,
            "DEFAULT": context.name == session.active,
            "OTHER_SNS": " ".join(sorted(others)),
            "ENV_VARIABLES": len(context.env),
        }
    )


async def get_env(session: Session, command: c.GetContextEnv, _talk: Talk) -> Reply:
    """GET CONTEXT ENV [name] env."""
    context = session.context(command.context)
    if command.env not in context.env:
        raise ConfigError(
            f"context {context.name} has no variable {command.env}: "
            f"LIST CONTEXT ENV {context.name} shows those it has",
            "not-found",
        )
    return fields({command.env: context.env[command.env]}, {command.env: context.env[command.env]})


async def set_env(session: Session, command: c.SetContextEnv, _talk: Talk) -> Reply:
    """SET CONTEXT ENV [name] env value."""
    context = session.context(command.context)
    if len(context.env) >= MOST_VARIABLES and command.env not in context.env:
        raise ProtocolError(f"a context holds at most {MOST_VARIABLES} variables", "too-many")
    context.env[command.env] = command.value
    return fields({command.env: command.value}, {command.env: command.value})


async def list_env(session: Session, command: c.ListContextEnv, _talk: Talk) -> Reply:
    """LIST CONTEXT ENV [name]."""
    context = session.context(command.context)
    if not context.env:
        return success(f"NO VARIABLES IN CONTEXT : {context.name}", data={})
    return fields(dict(sorted(context.env.items())), dict(context.env))


async def get_version(session: Session, command: c.GetContextVersion, _talk: Talk) -> Reply:
    """GET CONTEXT VERSION [name]: what the SN says of itself."""
    context = session.context(command.context)
    version = await context.swarm.sn.version()
    return fields({"CONTEXT_NAME": context.name, "API_SERVER_VERSION": version})


async def list_contexts(session: Session, _command: c.ListContexts, _talk: Talk) -> Reply:
    """LIST CONTEXTS."""
    return listed(session.contexts, "NO CONTEXTS")
