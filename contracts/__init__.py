"""The swarm's smart contracts: Solidity in ``src/``, compiled into ``artifacts/``.

The only Python API of this folder is ``load``; README.md says what the contracts do.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ARTIFACTS = Path(__file__).parent / "artifacts"


@dataclass(frozen=True)
class Artifact:
    """One compiled contract."""

    abi: list[dict[str, Any]]
    """Its functions, events and errors, as the Solidity compiler describes them."""
    bytecode: str
    """What deploys it: ``0x`` and hex digits; constructor arguments are appended to it."""


def load(name: str) -> Artifact:
    """Reads a compiled contract.

    Args:
        name: one of ``contracts.compile.CONTRACTS``, e.g. ``TrainingContract``.

    Raises:
        FileNotFoundError: there is no contract of that name.
    """
    fields = json.loads((_ARTIFACTS / f"{name}.json").read_text())
    return Artifact(abi=fields["abi"], bytecode=fields["bytecode"])
