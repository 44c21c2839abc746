"""What the proxy says no with."""


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """A request that is not passed on.

    Args:
        why: for the person who reads SWOP's error; says what to do where something can be done.
        status: of the HTTP answer. 403: not allowed; 400: not HTTP as we read it.
    """

    def __init__(self, why: str, status: int = 403) -> None:
        super().__init__(why)
        self.status = status


def malformed(why: str) -> Refused:
    """The request is not HTTP, or not the plain kind that is read here."""
    return Refused(f"malformed request: {why}", 400)
