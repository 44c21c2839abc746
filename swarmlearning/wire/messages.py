"""Every message of the ML-SL protocol, as a plain value.

The life of a session: the ML program sends a :class:`SessionRequest` and gets a
:class:`SessionResponse`. For each sync it sends a :class:`SyncRequest`; the SL answers with one or
more :class:`LossRequest` (each is answered by a :class:`LossResponse`; the merged model enters the
ML program only there) and then a :class:`SyncResponse`. At the end the same with
:class:`CloseRequest` and :class:`CloseResponse`, or a :class:`KillSession`, which has no answer.
The SL may send a bare :class:`Status` in place of any answer to report a failure.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Union


class StatusCode(IntEnum):
    """Who failed."""

    OK = 0
    ERROR_IN_SL = 1
    ERROR_IN_USER = 2
    ERROR_OTHERS = 3


@dataclass(frozen=True)
class Status:
    """Success, or whose failure and why."""

    code: StatusCode = StatusCode.OK
    text: str = "StatusOK"
    """For a person: the only thing an ML user sees of a failure."""


@dataclass(frozen=True)
class SessionRequest:
    """ML to SL: these are the terms I train under."""

    sync_interval: int
    """Batches between two syncs, 1 or more."""
    min_peers: int
    """Peers that a merge needs, 1 or more."""
    adaptive: bool
    """The SL may change the interval by the loss that is reported."""
    checkin_state: str
    """What this peer contributes after its training: inactive, active or snapshot."""
    weightage: int
    """1 to 100."""
    contract: str
    """Name of the training contract; empty means the default one."""
    merge_method: str
    """mean, coordmedian, geomedian; ours: normclip, and a user's own ``x-...``."""
    max_peers: int = 0
    """0: no limit. HPE's client always sends 0."""


@dataclass(frozen=True)
class SessionResponse:
    """SL to ML: the session is open, or why it is not."""

    status: Status
    session_id: str
    """Not empty when the status is OK."""
    epochs_done: int = 0
    """Ours, optional: epochs that this peer had reported in this training before its program was
    started again. HPE's client and SL know nothing of it; 0 is not sent."""


@dataclass(frozen=True)
class SyncRequest:
    """ML to SL: my parameters are in the file, or (HPE's clients 2.1 and 2.2) in the message."""

    session_id: str
    sequence: int
    """1, 2, 3...; answers carry the same number."""
    weightage: int
    """1 to 100."""
    file_name: str
    """In the hand-over folder; never a path. Empty with ``weights``."""
    nodes: int = 1
    """Reserved by HPE; always 1."""
    weights: memoryview | None = None
    """A protobuf ``Weights`` message, not looked into yet. Only ever received."""


@dataclass(frozen=True)
class CloseRequest:
    """ML to SL: my training ended, my last parameters are in the file."""

    session_id: str
    sequence: int
    """Counts for itself, from 1."""
    weightage: int
    """0 with ``inactive``: present for the quorum, absent from the average."""
    file_name: str
    nodes: int = 1
    weights: memoryview | None = None


@dataclass(frozen=True)
class SyncResponse:
    """SL to ML: the round is over, train on."""

    session_id: str
    sequence: int
    status: Status
    next_interval: int
    """Batches until the next sync. Must be 1 or more: 0 stops HPE's client from ever syncing."""
    training_over: bool
    """The swarm's training finished without this program."""


@dataclass(frozen=True)
class CloseResponse:
    """SL to ML: all rounds are over; the last LossRequest brought the final model."""

    session_id: str
    sequence: int
    status: Status
    next_interval: int
    training_over: bool


@dataclass(frozen=True)
class LossRequest:
    """SL to ML: load this merged model, evaluate it, answer with its loss."""

    session_id: str
    sequence: int
    """That of the sync or close being answered."""
    loss_sequence: int
    """1, 2, 3... within one sync or close."""
    file_name: str
    """In the hand-over folder; never a path."""


@dataclass(frozen=True)
class LossResponse:
    """ML to SL: the merged model is loaded, and this good."""

    session_id: str
    sequence: int
    loss_sequence: int
    status: Status
    """Not OK: the program could not load or evaluate it and is about to end."""
    loss: float
    """0 without evaluation data, -1 on failure."""
    metric: float
    epochs: int
    """Epochs done so far."""
    total_epochs: int
    """0: not known."""


@dataclass(frozen=True)
class KillSession:
    """ML to SL: I end now, because training was over before mine was. Has no answer."""

    session_id: str
    reason: Status


Message = Union[  # noqa: UP007 - a closed union, readable
    Status,
    SessionRequest,
    SessionResponse,
    CloseRequest,
    CloseResponse,
    SyncRequest,
    SyncResponse,
    LossRequest,
    LossResponse,
    KillSession,
]
"""Anything that travels through the FIFOs."""
