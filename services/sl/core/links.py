"""How fast the links to other SLs are, as far as transfers showed, and when packing pays."""

FAST = 50_000_000
"""Bytes per second on the wire from which packing gains nothing: it costs more than it saves."""

MIN_SIZE = 1024 * 1024
"""Shorter transfers do not count (bytes): they measure the delay, not the rate."""

REMEMBERED = 3
"""Transfers remembered per link; the fastest counts, since a busy machine only makes one slower."""


class Links:
    """The links of one SL, by endpoint. Several threads may use it.

    Args:
        threshold: files smaller than this many bytes may be packed; 0: never.
    """

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._rates: dict[str, tuple[float, ...]] = {}

    def note(self, endpoint: str, size: int, seconds: float) -> None:
        """Remember a transfer.

        Args:
            endpoint: who sent.
            size: bytes on the wire.
            seconds: from the answer's head to its end.
        """
        if size >= MIN_SIZE:
            rates = (*self._rates.get(endpoint, ()), size / max(seconds, 1e-6))
            self._rates[endpoint] = rates[-REMEMBERED:]

    def pays(self, endpoint: str, size: int) -> bool:
        """Whether to ask for a file of ``size`` bytes in packed form. Not before a plain one."""
        rates = self._rates.get(endpoint, ())
        return size < self._threshold and 0 < max(rates, default=0) < FAST
