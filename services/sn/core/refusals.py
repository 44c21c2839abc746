"""How often a refusal goes onto the ledger: a peer that repeats itself must not fill the chain."""


class RefusalLimit:
    """Lets one refusal per key through in a while, and so many because of one certificate.

    Args:
        every: seconds between two refusals with the same key.
        most: refusals in that time because of one certificate: keys hold what the caller says,
            e.g. a uid, and whoever invents a new one each time must not fill the chain either.
    """

    def __init__(self, every: float, most: int) -> None:
        self.every = every
        self.most = most
        self._last: dict[tuple[str, ...], tuple[str, float]] = {}

    def admits(self, key: tuple[str, ...], certificate: str, now: float) -> bool:
        """Whether to record this one.

        Args:
            key: what makes two refusals the same, e.g. contract, peer and code.
            certificate: fingerprint of who is refused.
            now: present time, seconds.
        """
        self._last = {k: v for k, v in self._last.items() if now - v[1] < self.every}
        said = sum(theirs == certificate for theirs, _ in self._last.values())
        if key in self._last or said >= self.most:
            return False
        self._last[key] = (certificate, now)
        return True
