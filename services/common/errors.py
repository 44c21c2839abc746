"""Errors raised by the services.

    SwarmError                        exit  http
    ├── ConfigError                     2   400    settings, certificate or request are wrong
    ├── RemoteError                     3   502    another party failed; retrying may help
    │   ├── ChainUnavailableError           503
    │   ├── BusyError                       503    too much at once
    │   ├── PeerUnavailableError
    │   ├── SnUnavailableError
    │   └── LicenseUnavailableError   1           HPE's exit code
    ├── ProtocolError                   4   409    a party broke the rules; retrying will not help
    │   ├── ForbiddenError                  403    the certificate does not allow this
    │   ├── DigestMismatchError
    │   ├── LayoutError                            models differ in names, shapes or dtypes
    │   ├── IllegalTransitionError
    │   ├── LicenseRefusedError
    │   └── MlError                                the ML program broke off or broke the protocol
    ├── NotFoundError                   5   404
    └── StorageError                    3   507    this node's disk is full or fails

Adapters translate third-party exceptions into these and chain the original. Nothing above an
adapter sees httpx, web3 or sqlite exceptions. A plain ``ValueError`` or ``AssertionError`` is a
bug in our code.
"""


class SwarmError(Exception):
    """Base of every error a service raises on purpose.

    Args:
        message: what happened and what to do about it, for a person.
        code: a stable word for programs, e.g. ``stale-term``; the class's own by default.
    """

    exit_code = 1
    http_status = 500
    code = "error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(SwarmError):
    """Settings, a certificate or a request are wrong."""

    exit_code = 2
    http_status = 400
    code = "bad-request"


class RemoteError(SwarmError):
    """Another party failed; retrying may help."""

    exit_code = 3
    http_status = 502
    code = "remote"


class ChainUnavailableError(RemoteError):
    """The chain cannot take or confirm a write now."""

    http_status = 503
    code = "chain-unavailable"


class BusyError(RemoteError):
    """Somebody asks for too much at once; later, or elsewhere, it may be given."""

    http_status = 503
    code = "busy"


class PeerUnavailableError(RemoteError):
    """Another SL node cannot be reached or does not serve the file."""

    code = "peer-unavailable"


class SnUnavailableError(RemoteError):
    """No SN node answers."""

    code = "sn-unavailable"


class LicenseUnavailableError(RemoteError):
    """No license server answers (HPE's error 6002, with HPE's exit code)."""

    exit_code = 1
    code = "license-unavailable"


class ProtocolError(SwarmError):
    """A party broke the rules; retrying will not help."""

    exit_code = 4
    http_status = 409
    code = "conflict"


class ForbiddenError(ProtocolError):
    """The certificate presented does not allow this."""

    http_status = 403
    code = "forbidden"


class DigestMismatchError(ProtocolError):
    """A file is not what its digest says."""

    code = "digest-mismatch"


class LayoutError(ProtocolError):
    """Models differ in names, shapes or dtypes, or hold values that are not finite."""

    code = "layout"


class IllegalTransitionError(ProtocolError):
    """An event arrived in a state that does not expect it."""

    code = "illegal-transition"


class LicenseRefusedError(ProtocolError):
    """The license server answered no: feature missing, expired or exhausted."""

    code = "license-refused"


class MlError(ProtocolError):
    """The ML program broke off, or broke the ML-SL protocol."""

    code = "ml"


class NotFoundError(SwarmError):
    """What was asked for does not exist."""

    exit_code = 5
    http_status = 404
    code = "not-found"


class StorageError(SwarmError):
    """This node's disk is full or fails; trying again helps once that is mended."""

    exit_code = 3
    http_status = 507
    code = "storage"
