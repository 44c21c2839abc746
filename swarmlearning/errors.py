"""Errors that a training program may catch."""


class SwarmError(RuntimeError):
    """Swarm learning cannot go on; the message says why and what to do.

    It was logged at ERROR level before it was raised, as HPE's client does.
    """
