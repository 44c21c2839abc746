"""Who may do what at an SN's API, and requests that are good but for who asks (FAULTS S1, S8)."""

from dataclasses import dataclass, field

from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST
from services.common.task_api import DEFAULT_TASKRUNNER

OWNER = "a" * 32
"""Uid of the node that SL-1 registered."""
EVERYBODY = frozenset({"SN", "SL", "another SL", "SWOP", "SWCI", "LICENSE", "no role"})
"""Whom TLS lets in."""
MEMBERS = EVERYBODY - {"LICENSE", "no role"}
OPERATOR, ITSELF = frozenset({"SWCI"}), frozenset({"SL"})
NEW = "new"


@dataclass(frozen=True)
class Rule:
    """Who may use a route, and a request that is good but for who asks."""

    allowed: frozenset[str]
    path: str
    body: object = None
    answers: tuple[int, ...] = (200,)
    """What those who may get: 409 where the contract itself has something against it."""
    recorded: bool = field(default=False)
    """Whether a refusal goes onto the contract's ledger."""


SWOP_OWNER = "b" * 32
"""Uid of the node that SWOP-1 registered."""
TASK, RUNNER = "a task", DEFAULT_TASKRUNNER
HEADER = {
    "name": TASK, "type": "PULL_IMAGE", "author": "me", "prereq": "ROOTTASK", "outcome": "an image",
    "request": "1" * 32,
}  # fmt: skip
ASSIGN = {"task": TASK, "mode": "PEERS", "peers": 1, "request": "2" * 32}
REPORT = {"run": 1, "peer": SWOP_OWNER, "state": "COMPLETE", "description": "fine"}

TERM = {"generation": 1, "round": 1, "term": 1}
CHECK_IN = {
    "generation": 1, "round": 1, "base": NO_DIGEST, "digest": "b" * 64, "size": 9, "weightage": 1,
    "state": "TRAINING",
}  # fmt: skip
ADMISSION = {"account": "0x" + "1" * 40, "proof": "2" * 130}
PERF = {"generation": 1, "round": 1, "perf": {"loss": 1, "metric": 1}}


def peer_write(verb, body, answer):
    path = f"/v1/contracts/{DEFAULT_CONTRACT}/peers/{OWNER}/{verb}"
    return Rule(ITSELF, path, body, (answer,), recorded=True)


def swop_write(verb, body):
    path = f"/v1/taskrunners/{RUNNER}/swops/{SWOP_OWNER}/{verb}"
    return Rule(frozenset({"SWOP"}), path, body)


TASK_RULES = {
    ("GET", "/v1/tasks"): Rule(MEMBERS, "/v1/tasks"),
    ("POST", "/v1/tasks"): Rule(OPERATOR, "/v1/tasks", HEADER, (201,)),
    ("GET", "/v1/tasks/{name}"): Rule(MEMBERS, f"/v1/tasks/{TASK}"),
    ("PUT", "/v1/tasks/{name}/body"): Rule(
        OPERATOR, f"/v1/tasks/{TASK}/body", {"first": 1, "lines": ["Tag: latest"]}
    ),
    ("POST", "/v1/tasks/{name}/finalize"): Rule(OPERATOR, f"/v1/tasks/{TASK}/finalize"),
    ("DELETE", "/v1/tasks/{name}"): Rule(OPERATOR, f"/v1/tasks/{TASK}", answers=(409,)),
    ("GET", "/v1/taskrunners"): Rule(MEMBERS, "/v1/taskrunners"),
    ("POST", "/v1/taskrunners"): Rule(OPERATOR, "/v1/taskrunners", {"name": "a runner"}, (201,)),
    ("GET", "/v1/taskrunners/{name}"): Rule(MEMBERS, f"/v1/taskrunners/{RUNNER}"),
    ("GET", "/v1/taskrunners/{name}/events"): Rule(MEMBERS, f"/v1/taskrunners/{RUNNER}/events"),
    ("POST", "/v1/taskrunners/{name}/swops/{uid}/listen"): swop_write("listen", {"nodes": 1}),
    ("POST", "/v1/taskrunners/{name}/assign"): Rule(
        OPERATOR, f"/v1/taskrunners/{RUNNER}/assign", ASSIGN
    ),
    ("POST", "/v1/taskrunners/{name}/swops/{uid}/enrol"): swop_write(
        "enrol", {"run": 1, "peers": [SWOP_OWNER]}
    ),
    ("POST", "/v1/taskrunners/{name}/swops/{uid}/report"): swop_write("report", REPORT),
    ("POST", "/v1/taskrunners/{name}/swops/{uid}/quit"): swop_write("quit", {"reason": "x"}),
    ("POST", "/v1/taskrunners/{name}/reset"): Rule(OPERATOR, f"/v1/taskrunners/{RUNNER}/reset"),
}
RULES = {
    ("GET", "/is_up"): Rule(EVERYBODY, "/is_up"),
    ("GET", "/healthz"): Rule(EVERYBODY, "/healthz"),
    ("GET", "/metrics"): Rule(EVERYBODY, "/metrics"),
    ("GET", "/openapi.json"): Rule(EVERYBODY, "/openapi.json"),
    ("HEAD", "/openapi.json"): Rule(EVERYBODY, "/openapi.json"),
    ("GET", "/v1/network"): Rule(frozenset({"SN"}), "/v1/network"),
    ("POST", "/v1/network/writers"): Rule(  # 404: SNs of an embedded chain prove accounts on links
        frozenset({"SN"}), "/v1/network/writers", ADMISSION, (404,)
    ),
    ("POST", "/eth"): Rule(
        frozenset({"SN", "SWOP", "SWCI"}), "/eth", {"id": 1, "method": "eth_chainId"}
    ),
    ("GET", "/v1/nodes"): Rule(MEMBERS, "/v1/nodes"),
    ("PUT", "/v1/nodes/{uid}"): Rule(
        ITSELF, f"/v1/nodes/{OWNER}", {"kind": "SL", "endpoint": "sl:1"}
    ),
    ("POST", "/v1/nodes/{uid}/alive"): Rule(ITSELF, f"/v1/nodes/{OWNER}/alive"),
    ("GET", "/v1/contracts"): Rule(MEMBERS, "/v1/contracts"),
    ("POST", "/v1/contracts"): Rule(OPERATOR, "/v1/contracts", {"name": NEW}, (201,)),
    ("GET", "/v1/contracts/{name}"): Rule(MEMBERS, f"/v1/contracts/{DEFAULT_CONTRACT}"),
    ("GET", "/v1/contracts/{name}/events"): Rule(
        MEMBERS, f"/v1/contracts/{DEFAULT_CONTRACT}/events"
    ),
    ("GET", "/v1/contracts/{name}/rounds"): Rule(
        MEMBERS, f"/v1/contracts/{DEFAULT_CONTRACT}/rounds"
    ),
    ("GET", "/v1/contracts/{name}/perf"): Rule(MEMBERS, f"/v1/contracts/{DEFAULT_CONTRACT}/perf"),
    ("POST", "/v1/contracts/{name}/peers/{uid}/enrol"): peer_write("enrol", {"min_peers": 2}, 200),
    ("POST", "/v1/contracts/{name}/peers/{uid}/checkin"): peer_write("checkin", CHECK_IN, 200),
    ("POST", "/v1/contracts/{name}/peers/{uid}/freeze"): peer_write("freeze", TERM, 409),
    ("POST", "/v1/contracts/{name}/peers/{uid}/drop"): peer_write(
        "drop", TERM | {"peer": "c" * 32, "reason": "x"}, 409
    ),
    ("POST", "/v1/contracts/{name}/peers/{uid}/outlier"): peer_write(
        "outlier", TERM | {"peer": "c" * 32, "norm": 2.0, "ratio": 9.0}, 409
    ),
    ("POST", "/v1/contracts/{name}/peers/{uid}/publish"): peer_write(
        "publish", TERM | {"digest": "d" * 64, "size": 9, "contributors": [OWNER]}, 409
    ),
    ("POST", "/v1/contracts/{name}/peers/{uid}/attest"): peer_write(
        "attest", TERM | {"digest": "d" * 64, "size": 9}, 409
    ),
    ("POST", "/v1/contracts/{name}/peers/{uid}/report-leader"): peer_write(
        "report-leader", TERM, 409
    ),
    ("POST", "/v1/contracts/{name}/peers/{uid}/perf"): peer_write("perf", PERF, 409),
    ("POST", "/v1/contracts/{name}/peers/{uid}/leave"): peer_write(
        "leave", {"generation": 1, "reason": "x"}, 200
    ),
    ("POST", "/v1/contracts/{name}/reset"): Rule(
        OPERATOR, f"/v1/contracts/{DEFAULT_CONTRACT}/reset", recorded=True
    ),
    **TASK_RULES,
    ("GET", "/v1/version"): Rule(MEMBERS, "/v1/version"),
    ("DELETE", "/v1/nodes/{uid}"): Rule(ITSELF, f"/v1/nodes/{OWNER}", answers=(204,)),
}
"""The law, in an order in which each request can be tried."""
