"""Stands in for a service: `python fake_service.py LIC|SN|SL|SWOP|SWCI`. Only what a
composition sees of it.

An SL "enrols" by leaving its UID in $FAKE_SWARM, where the SN finds it; the file says in which
contract ($FAKE_CONTRACT, or the default one).
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from uuid import uuid4

SHARED = Path(os.environ["FAKE_SWARM"])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def license_server() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if os.environ.get("FAKE_LICENSE") == "broken":
        sys.exit("Exiting LIC. Reason: the fake is told to break")
    say("License server ready on port: 1")
    signal.sigwait({signal.SIGTERM})  # blocked at the start


def enrolled(contract: str) -> list[str]:
    return sorted(file.name for file in SHARED.iterdir() if file.read_text() == contract)


def record(number: int, leader: str) -> dict[str, object]:
    return {
        "generation": 1, "round": number, "term": 1, "leader": leader, "leaders": [],
        "digest": "ab" * 32, "size": 1, "contributors": [], "drops": [], "block": 1, "time": 1,
    }  # fmt: skip


def view(name: str) -> dict[str, object]:
    peer = {
        "endpoint": "x:1", "fingerprint": "", "container": "", "live": True, "may_lead": True,
        "state": "TRAINING", "checkin": None, "participant": False, "dropped": "", "perf": None,
        "perf_round": 0, "rounds": 0, "left": "",
    }  # fmt: skip
    uids = enrolled(name)
    wanted = int(os.environ.get("FAKE_MIN_PEERS", "0"))
    terms = {"min_peers": wanted, "merge_method": "mean", "adaptive": False, "leader_timeout_s": 9}
    return {
        "name": name, "generation": 1, "phase": "QUORUM" if uids else "UNINITIALIZED",
        "round": 7 if uids else 0, "term": 1, "leader": uids[0] if uids else "",
        "terms": terms if uids and wanted else None,
        "peers": [{"uid": uid, **peer} for uid in uids],
        "merged": {"round": 6, "digest": "ab" * 32, "size": 1, "leader": uids[0],
                   "next_interval": 0} if uids else None,
        "quorum_age_s": None, "waiting_for": "",
    }  # fmt: skip


async def sn() -> None:
    from services.common import rest, settings, tls
    from services.common.ids import DEFAULT_CONTRACT, NodeKind

    breaks = Path(os.environ.get("FAKE_SN_BREAKS", "nowhere"))
    if breaks.exists():
        sys.exit(f"Exiting SN. Reason: {breaks.read_text()}")
    while Path(os.environ.get("FAKE_SN_WAITS", "nowhere")).exists():
        await asyncio.sleep(0.02)  # a file has no event to wait for
    identity = tls.load_identity(settings.load(settings.NodeSettings), NodeKind.SN)
    sock = rest.listen("127.0.0.1", int(os.environ["SN_API_SERVER_PORT"]), "the fake SN")
    app = rest.make_app("fake SN")

    @app.get("/v1/contracts")
    async def contracts() -> list[dict[str, object]]:
        return [{"name": name, "address": "", "created": 0, "phase": "CHECKIN", "round": 1,
                 "min_peers": 1, "peers": len(enrolled(name)), "completed_peers": 0}
                for name in sorted({DEFAULT_CONTRACT, *created})]  # fmt: skip

    created: set[str] = set()

    @app.post("/v1/contracts")
    async def create(contract: dict[str, str]) -> dict[str, str]:
        created.add(contract["name"])
        return contract

    @app.get("/v1/contracts/{name}")
    async def state(name: str) -> dict[str, object]:
        return {"cursor": "1", "view": view(name)}

    @app.get("/v1/contracts/{name}/events")
    async def events(name: str) -> dict[str, object]:
        await asyncio.sleep(0.05)
        return {"cursor": "1", "view": view(name)}

    @app.get("/v1/contracts/{name}/rounds")
    async def rounds(name: str) -> dict[str, object]:
        found = [record(number, uid) for uid in enrolled(name)[:1] for number in range(1, 8)]
        return {"generation": 1, "total": len(found), "rounds": found, "more_after": None}

    async with rest.serving(app, sock, identity):
        say("Starting SWARM-API-SERVER on port: 1")
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()


def sl() -> None:
    from services.common.ids import DEFAULT_CONTRACT

    for channel in ("SL_RESPONSE_CHANNEL", "SL_REQUEST_CHANNEL"):
        os.mkfifo(os.environ[channel])
    say("Opening pipes to communicate with user container ...")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    said = []
    with Path(os.environ["SL_REQUEST_CHANNEL"]).open() as requests:
        for line in requests:
            said.append(line)
            contract = os.environ.get("FAKE_CONTRACT", DEFAULT_CONTRACT)
            (SHARED / os.environ["SWARM_NODE_UID"]).write_text(contract)
    if "bye\n" not in said:
        sys.exit("Exiting SL. Reason: the ML program closed its pipe")
    digest = os.environ.get("FAKE_DIGEST", "ab") * 32
    if digest == "own" * 32:
        digest = os.environ["SWARM_NODE_UID"] * 2
    result = {"uid": os.environ["SWARM_NODE_UID"], "outcome": "completed", "rounds": 7}
    Path(os.environ["SL_RESULT_FILE"]).write_text(json.dumps({**result, "final_digest": digest}))


def swop() -> None:
    """Needs its profile, and leaves a program's log as SWOP does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    usr_dir = Path(os.environ["USR_DIR"])
    profile = (usr_dir / os.environ["SWOP_PROFILE"]).read_text()
    say(f"registered as {os.environ['SWARM_NODE_UID']} with the SN")
    logs = usr_dir / "logs"
    logs.mkdir(exist_ok=True)
    digest = os.environ.get("FAKE_DIGEST", "ab") * 32
    if digest == "own" * 32:
        digest = os.environ["SWARM_NODE_UID"] * 2
    for line in profile.splitlines():
        if "slport" in line:
            uid = uuid4().hex
            (SHARED / uid).write_text("defaultbb.cqdb.sml.hpe")
            log = logs / f"g-t-u-0-{uid[:16]}.log"
            log.write_text(f"Final model digest: {digest}\n")
    signal.sigwait({signal.SIGTERM})


def swci() -> None:
    """Echoes its script, and goes on when the test wants it."""
    script = Path(os.environ["SWCI_USR_DIR"], os.environ["SWCI_STARTUP_SCRIPT"])
    for number, line in enumerate(script.read_text().splitlines()):
        say(f"SWCI:{number} > {line}")
    while Path(os.environ.get("FAKE_SWCI_WAITS", "nowhere")).exists():
        time.sleep(0.02)  # a file has no event to wait for
    if os.environ.get("FAKE_SWCI") == "fails":
        say("    ERROR : no SWOP listens")
        sys.exit(1)


if __name__ == "__main__":
    match sys.argv[1]:
        case "LIC":
            license_server()
        case "SN":
            asyncio.run(sn())
        case "SL":
            sl()
        case "SWOP":
            swop()
        case "SWCI":
            swci()
