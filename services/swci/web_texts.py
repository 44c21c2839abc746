"""What the web mode's OpenAPI description and its log say."""

from typing import Any

from services.swci.web_command import LONGEST_COMMAND
from services.swci.web_upload import LARGEST_FILE

INSECURE = (
    "SWCI_WEB_INSECURE=true: port %d speaks plain HTTP. Whoever reaches it commands the swarm, "
    "and whoever is on the way reads and changes everything. Unset it, or let nobody but this "
    "host reach the port (SWARM_BIND_IP=127.0.0.1)"
)

ABOUT = """Every command of SWCI over HTTPS, for programs. swarmlearning.swci.Swci is a client.

Connections need a client certificate of role SWCI that a CA of this swarm signed (mutual TLS).
Certificates name roles, not hosts; so curl is told which host plays SWCI-1:

    curl --cert swci-2-cert.pem --key swci-2-key.pem --cacert ca-cert.pem \\
         --connect-to SWCI-1:30306:HOST:30306 \\
         -X POST 'https://SWCI-1:30306/exec?cmd=list%20nodes'

All clients share one interpreter: its current folder (cd), its contexts and the active one.
Requests run side by side. Commands that change what is shared wait for each other; a SLEEP or
WAIT FOR TASKRUNNER does not hold up anybody. A client that closes its connection cancels its
command; CREATE TASK FROM is finished all the same."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is wrong; the answer says what to send instead."},
    403: {"description": "The certificate has another role, or a page in a browser asks."},
    413: {"description": "The request is too large."},
    503: {"description": "Too many commands of this certificate are under way."},
}

EXEC: dict[str, Any] = {
    "summary": "Execute one command",
    "description": """The command is everything behind cmd=, percent-encoded UTF-8. Blanks are
%20, or + where the whole command has no %20. HELP lists the commands.

CONTENT has the lines of the answer. Where the command failed, its only element starts with
'ERROR ' (with the blank), and the status is 200 all the same: the request was fine.

EXIT is refused, and EXIT ON FAILURE ends nothing here: the server outlives every command.""",
    "openapi_extra": {
        "parameters": [
            {
                "name": "cmd",
                "in": "query",
                "required": True,
                "description": f"One command, at most {LONGEST_COMMAND} characters.",
                "schema": {"type": "string", "maxLength": LONGEST_COMMAND},
                "example": "list nodes",
            },
            {
                "name": "format",
                "in": "query",
                "required": False,
                "description": "json: the answer has DATA too, the same as values for programs. "
                "Must be the first or the last parameter.",
                "schema": {"type": "string", "enum": ["json"]},
            },
        ]
    },
    "responses": {200: {"description": "The command was executed, or it failed."}} | _REFUSALS,
}

UPLOAD: dict[str, Any] = {
    "summary": "Put a task definition into SWCI's current folder",
    "description": """Then CREATE TASK FROM takes it by its bare name. A regular file of the same
name is replaced. Folders in the file's name are dropped.""",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {
                                "type": "string",
                                "format": "binary",
                                "description": "YAML, its name ends with .yaml or .yml; at most "
                                f"{LARGEST_FILE >> 10} KiB.",
                            }
                        },
                    }
                }
            },
        }
    },
    "responses": {200: {"description": "Stored; the text says as what."}}
    | _REFUSALS
    | {507: {"description": "The current folder cannot be written."}},
}
