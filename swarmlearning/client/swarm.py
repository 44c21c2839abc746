"""``SwarmError`` where HPE's client has it, for ``except`` clauses."""

from swarmlearning.errors import SwarmError

__all__ = ["SwarmError"]
