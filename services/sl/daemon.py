"""An SL node's life: identity, licence, registration, file server, ML program, rounds, goodbye.

The order of the start is the documented one. Whatever ends it, the node tells its ML program why,
leaves the training contract if that is still open, signs off from the SN, and frees its licence.
``node.py`` is the life of a node that has its parts, ``participation.py`` that of one ML program.
"""

import logging
from contextlib import AsyncExitStack
from uuid import uuid4

from services.common.identity_watch import kept_identity
from services.common.ids import NodeId, NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.presence import VERSION
from services.common.rest import listen
from services.common.sn_client import SnClient
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.file_connection import Limits
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.journal import Journal
from services.sl.adapters.members import Members
from services.sl.adapters.own_methods import load_methods
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sl.node import Node
from services.sl.participation import Tools
from services.sl.settings import SlSettings

log = logging.getLogger("swarm.startSL")


async def serve(settings: SlSettings) -> None:
    """Be an SL node until the training is complete.

    Raises:
        SwarmError: it cannot start, or its training cannot go on.
    """
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(kept_identity(settings, NodeKind.SL))
        request, response = settings.channels()
        uid = NodeId(settings.swarm_node_uid or uuid4().hex)
        methods = load_methods(settings.sl_merge_methods)
        sock = listen(settings.swarm_bind_ip, settings.sl_fs_listen_port, "the SL file server")
        stack.callback(sock.close)
        patience = settings.swarm_start_patience
        await stack.enter_async_context(
            held_license(settings, identity, Feature.SL, uid, "SL", patience=patience)
        )
        sn = SnClient(identity, settings.sns(), patience)
        stack.push_async_callback(sn.close)
        store, members = Store(settings.sl_store_dir), Members()
        pack_below = settings.sl_model_params_compression_threshold_mb * 1_000_000
        limits = Limits(pack_below=pack_below)
        server = FileServer(sock, identity, store, members.may_read, members.may_copy, limits)
        await stack.enter_async_context(server)
        peers = await stack.enter_async_context(Peers(identity, pack_below=pack_below))
        limit = settings.sl_max_message_mb * 1024 * 1024
        bridge = Bridge(request, response, settings.sl_weights_dir, limit)
        stack.callback(bridge.close)
        journal = Journal(settings.sl_journal_file, VERSION)
        stack.callback(journal.close)
        tools = Tools(settings, uid, sn, store, members, peers, journal, methods)
        await Node(tools, bridge).live()
