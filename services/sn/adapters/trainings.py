"""The training contracts' functions, from what the API takes."""

from services.common import sn_api as api
from services.common.errors import ProtocolError
from services.common.ids import NodeId
from services.sn.adapters import abi
from services.sn.adapters.chain import Call
from services.sn.adapters.writer import Writer
from services.sn.core.ledger import TRAINING_KIND
from services.sn.core.training import Training


class Trainings:
    """Writes to training contracts. Every method raises as :meth:`Writer.write` does.

    Args:
        writer: sends.
        registry: address of the SwarmRegistry.
        nodes: address of the NodeRegistry.
    """

    def __init__(self, writer: Writer, registry: str, nodes: str) -> None:
        self._writer = writer
        self._registry = registry
        self._nodes = nodes
        self._remarked: dict[str, set[tuple[int, int, int, NodeId]]] = {}
        """By contract: whom the present leader remarked on."""

    async def create(self, name: str) -> None:
        """Deploy a training contract under ``name``."""
        system = (self._registry, self._nodes)
        await self._writer.deploy_and_name(
            abi.TRAINING, system, self._registry, name, TRAINING_KIND
        )

    async def enrol(self, training: Training, peer: NodeId, body: api.Enrol) -> None:
        """A peer joins the present generation."""
        await self._write(
            training, "enrol", 0, abi.uid_bytes(peer), body.min_peers,
            abi.method_bytes(body.merge_method), body.adaptive, body.may_lead,
            body.leader_timeout_s, body.attestations,
        )  # fmt: skip

    async def check_in(self, training: Training, peer: NodeId, body: api.CheckIn) -> None:
        """A peer's parameters for the round are ready."""
        await self._write(
            training, "checkIn", body.generation, abi.uid_bytes(peer), body.round,
            bytes.fromhex(body.base), bytes.fromhex(body.digest), body.size, body.weightage,
            abi.PEER_STATES.index(body.state), abi.perf_tuple(body.perf),
        )  # fmt: skip

    async def freeze(self, training: Training, peer: NodeId, body: api.OfTerm) -> None:
        """The leader closes the round to check-ins."""
        await self._write(
            training, "freeze", body.generation, body.round, body.term, abi.uid_bytes(peer)
        )

    async def drop(self, training: Training, peer: NodeId, body: api.Drop) -> None:
        """The leader drops a participant."""
        await self._write(
            training, "drop", body.generation, body.round, body.term, abi.uid_bytes(peer),
            abi.uid_bytes(body.peer), body.reason,
        )  # fmt: skip

    async def outlier(self, training: Training, peer: NodeId, body: api.Outlier) -> None:
        """The leader remarks on a participant's update; kept once for each term.

        Raises:
            ProtocolError: it does not lead, or merges no model of that peer's.
        """
        here = (training.generation, training.round, training.term)
        if here != (body.generation, body.round, body.term) or training.leader != peer:
            raise ProtocolError("only who leads now may remark on an update", "not-leader")
        subject = training.peers.get(NodeId(body.peer))
        if subject is None or not subject.participant:
            raise ProtocolError(f"{body.peer} is not merged in this round", "not-participant")
        remarked = self._remarked.setdefault(training.name, set())
        if any(key[:3] != here for key in remarked):
            remarked.clear()
        if (*here, subject.uid) not in remarked:
            remarked.add((*here, subject.uid))
            words = f"update of norm {body.norm:.4g}, {body.ratio:.3g} x the median"
            await self.refused(training, subject.uid, api.OUTLIER, words)

    async def publish(self, training: Training, peer: NodeId, body: api.Publish) -> None:
        """The leader ends the round with the merged model."""
        await self._write(
            training, "publish", body.generation, body.round, body.term, abi.uid_bytes(peer),
            bytes.fromhex(body.digest), body.size,
            [abi.uid_bytes(uid) for uid in body.contributors], body.next_interval,
        )  # fmt: skip

    async def attest(self, training: Training, peer: NodeId, body: api.Attest) -> None:
        """A participant made the leader's merge once more."""
        await self._write(
            training, "attest", body.generation, body.round, body.term, abi.uid_bytes(peer),
            bytes.fromhex(body.digest), body.size,
        )  # fmt: skip

    async def report_leader(self, training: Training, peer: NodeId, body: api.OfTerm) -> None:
        """A peer asks for the next leader."""
        await self._write(
            training, "reportLeader", body.generation, body.round, body.term, abi.uid_bytes(peer)
        )

    async def perf(self, training: Training, peer: NodeId, body: api.PerfReport) -> None:
        """Loss and metric that no check-in carries."""
        await self._write(
            training, "perf", body.generation, abi.uid_bytes(peer), body.round,
            abi.perf_tuple(body.perf),
        )  # fmt: skip

    async def leave(self, training: Training, peer: NodeId, body: api.Leave) -> None:
        """A peer ends before the training does."""
        await self._write(training, "leave", body.generation, abi.uid_bytes(peer), body.reason)

    async def reset(self, training: Training, generation: int, by: str) -> None:
        """End this generation."""
        await self._write(training, "reset", generation, by)

    async def reap(self, training: Training, peer: NodeId) -> None:
        """Take a lost peer out."""
        await self._write(training, "reap", training.generation, abi.uid_bytes(peer))

    async def refused(self, training: Training, peer: str, code: str, detail: str) -> None:
        """Record a refusal, without waiting for it."""
        args = (training.generation, abi.uid_bytes(peer), training.round, code, detail)
        await self._writer.tell(Call(abi.TRAINING, training.address, "refused", args))

    async def _write(self, training: Training, function: str, *args: object) -> None:
        await self._writer.write(Call(abi.TRAINING, training.address, function, args))
