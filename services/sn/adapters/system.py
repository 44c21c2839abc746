"""The system contracts: where they are, deploying them, and the node registry's functions."""

from collections.abc import Sequence

from services.common.ids import NodeId
from services.sn.adapters import abi
from services.sn.adapters.chain import Call, Chain
from services.sn.adapters.site import deployed_at
from services.sn.adapters.writer import Writer
from services.sn.core.ledger import NodeRegistered


def system_addresses(chain: Chain) -> tuple[str, str]:
    """Addresses of SwarmRegistry and NodeRegistry.

    The engine knows which two transactions of whose account deploy them, so every SN knows where
    they are, or will be.
    """
    deployer, nonce = chain.engine.genesis_signer, chain.engine.first_nonce
    return deployed_at(deployer, nonce), deployed_at(deployer, nonce + 1)


class SystemContracts:
    """Writes to the two registries. Every method raises as :meth:`Writer.write` does.

    Args:
        writer: sends.
        registry: address of the SwarmRegistry.
        nodes: address of the NodeRegistry.
    """

    def __init__(self, writer: Writer, registry: str, nodes: str) -> None:
        self._writer = writer
        self.registry = registry
        self.nodes = nodes

    async def deploy(self) -> None:
        """Deploy what is missing; only for the genesis block's signer, before anything else."""
        wanted = [
            (self.registry, abi.abi(abi.REGISTRY).creation()),
            (self.nodes, abi.abi(abi.NODES).creation(self.registry)),
        ]
        missing = [data for at, data in wanted if not await self._writer.chain.has_code(at)]
        if missing:
            await self._writer.deploy(*missing)

    async def add_writer(self, account: str) -> None:
        """Let another SN's account write."""
        await self._writer.write(Call(abi.REGISTRY, self.registry, "addWriter", (account,)))

    async def register(self, node: NodeRegistered) -> None:
        """Announce a node."""
        await self._write(
            "register", abi.uid_bytes(node.uid), abi.NODE_KINDS[node.kind], node.sentinel,
            node.endpoint, node.container, node.version, abi.uid_bytes(node.parent),
            bytes.fromhex(node.fingerprint),
        )  # fmt: skip

    async def alive(self, uids: Sequence[NodeId]) -> None:
        """These nodes were heard."""
        await self._write("alive", [abi.uid_bytes(uid) for uid in uids])

    async def lost(self, uids: Sequence[NodeId]) -> None:
        """These nodes fell silent."""
        await self._write("lost", [abi.uid_bytes(uid) for uid in uids])

    async def leave(self, uid: NodeId, reason: str) -> None:
        """A node signed off."""
        await self._write("leave", abi.uid_bytes(uid), reason)

    async def _write(self, function: str, *args: object) -> None:
        await self._writer.write(Call(abi.NODES, self.nodes, function, args))
