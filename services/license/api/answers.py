"""What the OpenAPI description says of all routes: errors, and the ways to say who one is."""

from typing import Any

SCHEMES: dict[str, dict[str, str]] = {
    "certificate": {
        "type": "mutualTLS",
        "description": "a certificate of the swarm; SWCI and LIC count as product-admin, the "
        "others as view-only",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "a local user's name and password, for scripts",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-swarm_license",
        "description": "from POST /api/v1/session; calls that change something also send its "
        "`csrf` as header X-CSRF-Token",
    },
}

OPEN: dict[str, Any] = {"security": []}
BY_SESSION: dict[str, Any] = {"security": [{"session": []}]}
BY_USER: dict[str, Any] = {"security": [{"session": []}, {"basic": []}]}
BY_NODE: dict[str, Any] = {"security": [{"certificate": []}]}
BY_ANY: dict[str, Any] = {"security": [{"session": []}, {"basic": []}, {"certificate": []}]}

_TEXTS = {
    400: "the request is wrong: bad-request, or a code that says what",
    401: "not-signed-in, bad-credentials or certificate-needed",
    403: "forbidden: the role or certificate does not allow it; csrf; cross-site; bad-setup-code",
    404: "not-found, or feature-not-installed",
    409: "no-capacity, license-expired, license-in-use, last-administrator, user-exists, ...",
    410: "the lease is not in force: lease-revoked, lease-expired, lease-released, ...",
    413: "too-large",
    429: "too-many-tries: the header Retry-After says how many seconds to wait",
}

_SCHEMA = {
    "type": "object",
    "required": ["status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and what to do, for a person"},
        "code": {"type": "string", "description": "a stable word for programs"},
        "holders": {
            "type": "array",
            "description": "of no-capacity: who holds the units, the oldest first, 20 at most",
            "items": {"type": "object"},
        },
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer, for its description."""
    content = {"application/problem+json": {"schema": _SCHEMA}}
    return {status: {"description": _TEXTS[status], "content": content} for status in statuses}
