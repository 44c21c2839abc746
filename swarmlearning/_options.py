"""Arguments of ``SwarmCallback``: checked, and turned from camelCase into plain values, once.

Names, defaults, rules and error texts are HPE's (``compat/01`` section 11.1). Ours on top: the
aliases that HPE's documentation uses, and a warning for arguments that nobody knows.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from logging import Logger
from typing import Any, Final, TypeVar

from swarmlearning.errors import SwarmError

DEFAULT_CONTRACT: Final = "defaultbb.cqdb.sml.hpe"
"""The training contract of programs that name none."""

LARGEST: Final = 2**31 - 1
"""What a whole number of the ML-SL protocol can hold."""

ALIASES: Final = {"mlPlatform": "ml_platform", "adsValBatch_size": "adsValBatchSize"}
"""What HPE's documentation says -> what HPE's code reads."""

COMMON: Final = (
    "totalEpochs",
    "checkinModelOnTrainEnd",
    "nodeWeightage",
    "mergeMethod",
    "useAdaptiveSync",
    "adsValData",
    "adsValBatchSize",
    "exchange",
    "logger",
    "ml_platform",
)
"""Optional arguments that each platform takes."""


class CheckinModel(IntEnum):
    """What a peer contributes after its own training ended."""

    inactive = 1
    """Nothing, but it counts for the quorum."""
    active = 2
    """The latest merged model."""
    snapshot = 3
    """Its last local parameters, in each remaining round."""


class SLMergeMethod(IntEnum):
    """How the parameters of the peers become one."""

    mean = 1
    coordmedian = 2
    geomedian = 3
    normclip = 4
    """Ours: the mean of updates clipped to their median norm."""


@dataclass(frozen=True)
class OwnMergeMethod:
    """Ours: a merge method that the operators of the SL nodes added."""

    name: str
    """``x-`` and up to 29 lower-case letters, digits, ``-`` or ``_``."""


@dataclass(frozen=True)
class Options:
    """What every platform's callback needs to know."""

    sync_frequency: int
    """Batches between syncs."""
    min_peers: int
    """Peers that a merge needs."""
    contract: str
    """Name of the training contract."""
    total_epochs: int
    """0: not known."""
    checkin: CheckinModel
    weightage: int
    """1 to 100."""
    merge_method: SLMergeMethod | OwnMergeMethod
    adaptive: bool
    """The SL may change :attr:`sync_frequency` by the loss on the validation data."""
    val_data: Any
    val_batch_size: Any
    """Kept for HPE's parameter; a DataLoader has its own."""
    trainable: bool
    """Ours (``exchange='trainable'``): frozen parameters stay at home."""
    extra: Mapping[str, Any]
    """The platform's own arguments, by their public names, and ``ml_platform``."""


Choice = TypeVar("Choice", bound=IntEnum)

_OWN_METHOD: Final = re.compile(r"x-[a-z0-9_-]{1,29}")


def parse(
    sync_frequency: Any,  # noqa: ANN401 - whatever the user gave
    min_peers: Any,  # noqa: ANN401
    contract: Any,  # noqa: ANN401
    given: Mapping[str, Any],
    platform: tuple[str, ...],
    logger: Logger,
) -> Options:
    """Check the arguments of a ``SwarmCallback``, in HPE's order.

    Args:
        sync_frequency: ``syncFrequency``.
        min_peers: ``minPeers``.
        contract: ``trainingContract``.
        given: the keyword arguments.
        platform: names of the platform's own arguments.
        logger: where warnings about unknown arguments go.

    Raises:
        SwarmError: an argument is wrong; not logged yet.
    """
    kwargs = _known(given, (*COMMON, *platform), logger)
    sync_frequency = _positive(sync_frequency, "syncFrequency has to be a positive integer")
    min_peers = _positive(min_peers, "minPeers have to be a positive integer")
    if contract is None:
        raise SwarmError("Invalid Training Contract")
    epochs = kwargs.get("totalEpochs")
    return Options(
        sync_frequency=sync_frequency,
        min_peers=min_peers,
        contract=str(contract),
        total_epochs=0
        if epochs is None
        else _positive(epochs, "totalEpochs value is not a positive integer"),
        checkin=_choice(
            CheckinModel, "checkinModelOnTrainEnd", kwargs.get("checkinModelOnTrainEnd", "snapshot")
        ),
        weightage=_weightage(kwargs.get("nodeWeightage", 1)),
        merge_method=_merge_method(str(kwargs.get("mergeMethod", "mean")).lower()),
        adaptive=_adaptive(kwargs),
        val_data=kwargs.get("adsValData"),
        val_batch_size=kwargs.get("adsValBatchSize"),
        trainable=_trainable(kwargs.get("exchange", "all")),
        extra={name: value for name, value in kwargs.items() if name in (*platform, "ml_platform")},
    )


def describe(options: Options, logger: Logger) -> None:
    """Log the parameters at INFO, as HPE's client does."""
    logger.info("***Swarm Callback Params: Inside SwarmCallbackBase at user side***")
    for name, value in (
        ("syncFrequency", options.sync_frequency),
        ("minPeers", options.min_peers),
        ("trainingContract", options.contract),
        ("valBatchSize", options.val_batch_size),
        ("useAdaptiveSync", options.adaptive),
        ("checkinModelOnTrainEnd", f"CheckinModel.{options.checkin.name}"),
        ("nodeWeightage", options.weightage),
        ("mergeMethod", _merge_method_text(options.merge_method)),
    ):
        line = f"{name} = {value}"
        logger.info(line)
    if options.trainable:
        logger.info("exchange = trainable")
    if not options.total_epochs:
        for line in (
            "*" * 52,
            "WARNING: totalEpochs is not given.",
            "Progress and time to the end of this training cannot be shown.",
            "*" * 52,
        ):
            logger.info(line)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """`` Did you mean 'x'?`` for the nearest known name; empty when none is near."""
    lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[found[0]]!r}?" if found else ""


def _known(given: Mapping[str, Any], names: tuple[str, ...], logger: Logger) -> dict[str, Any]:
    """Resolve aliases (HPE's own spelling wins) and drop what nobody knows, with a warning."""
    known: dict[str, Any] = {}
    for name, value in given.items():
        target = ALIASES.get(name, name)
        if target not in names:
            near = nearest(name, ("syncFrequency", "minPeers", "trainingContract", *names))
            line = f"SwarmCallback does not know the argument {name!r}, ignored.{near}"
            logger.warning(line)
        elif name == target or target not in given:
            known[target] = value
    return known


def _positive(value: Any, error: str) -> int:  # noqa: ANN401 - whatever the user gave
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise SwarmError(error) from exc
    if not 0 < number <= LARGEST:
        raise SwarmError(error)
    return number


def _weightage(value: Any) -> int:  # noqa: ANN401 - whatever the user gave
    error = f"Node weightage should be a number between 1-100. Provided value: {value}"
    number = _positive(value, error)
    if number > 100:
        raise SwarmError(error)
    return number


def _merge_method(name: str) -> SLMergeMethod | OwnMergeMethod:
    if _OWN_METHOD.fullmatch(name):
        return OwnMergeMethod(name)
    return _choice(SLMergeMethod, "mergeMethod", name, "x-...")


def _merge_method_text(method: SLMergeMethod | OwnMergeMethod) -> str:
    return method.name if isinstance(method, OwnMergeMethod) else f"SLMergeMethod.{method.name}"


def _choice(kind: type[Choice], name: str, value: Any, *more: str) -> Choice:  # noqa: ANN401
    allowed = [*kind.__members__, *more]
    if not isinstance(value, str) or value not in kind.__members__:
        raise SwarmError(f"Invalid value {name}: {value}. Allowed values: {allowed}")
    return kind[value]


def _adaptive(kwargs: Mapping[str, Any]) -> bool:
    adaptive = bool(kwargs.get("useAdaptiveSync", False))
    if adaptive and kwargs.get("adsValData") is None:
        raise SwarmError(
            "For adaptive sync, valid adsValData is mandatory and a positive adsValBatchSize "
            "if applicable"
        )
    return adaptive


def _trainable(exchange: Any) -> bool:  # noqa: ANN401 - whatever the user gave
    if exchange not in ("all", "trainable"):
        raise SwarmError(
            f"Invalid value exchange: {exchange}. Allowed values: ['all', 'trainable']"
        )
    return bool(exchange == "trainable")
