"""The checks that need TLS, against real servers: what they show, what they refuse, their clock."""

import email.utils
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose.operate.preflight_findings import FAIL, OK, WARN
from compose.preflight.__main__ import main
from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.tls import Identity
from tests.pki import Pki

Found = list[dict[str, str]]


class Server(http.server.ThreadingHTTPServer):
    """A node's API as far as the checks ask it."""

    ahead = 0.0
    """Seconds that its clock is ahead."""
    features: list[dict[str, object]]
    refusals = 0

    def handle_error(self, request: object, client_address: object) -> None:
        self.refusals += 1


class Api(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        is_up = self.path == "/is_up"
        body = b"OK" if is_up else json.dumps(self.server.features).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate(time.time() + self.server.ahead, usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(identity: Identity, *, ahead: float = 0.0, **units: tuple[int, int]) -> Iterator[str]:
    """A server with this certificate; gives ``host:port``."""
    server = Server(("127.0.0.1", 0), Api)
    server.ahead = ahead
    server.features = [
        {"feature": Feature[kind].value, "capacity": all_, "free": free, "usable": True}
        for kind, (free, all_) in units.items()
    ]
    server.socket = identity.server_context().wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


Check = Callable[..., tuple[int, Found]]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def run(files: dict[str, str], *words: str, role: str = "SL") -> tuple[int, Found]:
        names = {"SWARM_ID_KEY": "--key", "SWARM_ID_CERT": "--cert", "SWARM_ID_CAPATH": "--capath"}
        given = [word for name, value in files.items() for word in (names[name], value)]
        code = main(["--json", "--role", role, *given, *words])
        return code, json.loads(capsys.readouterr().out)

    return run


def bad(found: Found) -> list[tuple[str, str, str, str]]:
    assert all(each["do"] for each in found if each["level"] != OK)
    return [(x["level"], x["subject"], x["text"], x["do"]) for x in found if x["level"] != OK]


def test_all_is_well(pki: Pki, check: Check) -> None:
    with (
        serving(pki.identity(NodeKind.SN)) as sn,
        serving(pki.identity(NodeKind.LICENSE), SL=(2, 5)) as license_server,
    ):
        words = ["--sn", sn, "--license", license_server, "--p2p", sn, "--needs", "SL=2"]
        code, found = check(pki.files(NodeKind.SL), *words)
    levels = {x["subject"].split()[0]: x["level"] for x in found if x["subject"] != "identity ends"}
    assert set(levels) >= {"identity", "CAs", "key", "SN", "license", "licence,", "clock,"}
    assert set(levels.values()) == {OK}
    assert code == 0


def test_the_cas_were_not_exchanged(tmp_path: Path, check: Check) -> None:
    ours, theirs = Pki(tmp_path / "a", "CA-1"), Pki(tmp_path / "b", "CA-2")
    with serving(theirs.identity(NodeKind.SN)) as sn:
        code, found = check(ours.files(NodeKind.SL), "--sn", sn)
    distrust, refusal = (x for x in bad(found) if x[0] == FAIL)
    assert "we do not trust its certificate (SN-1 by CA-2" in distrust[2]
    assert "we trust CA-1" in distrust[2]
    assert "put the certificate of CA-2 into our --capath" in distrust[3]
    assert "it does not accept our certificate: " in refusal[2]
    assert code == 1


def test_only_they_lack_our_ca(tmp_path: Path, check: Check) -> None:
    ours, theirs = Pki(tmp_path / "a", "CA-1"), Pki(tmp_path / "b", "CA-2")
    (ours.capath / "ca-2-cert.pem").write_bytes(theirs.ca_cert.read_bytes())
    with serving(theirs.identity(NodeKind.SN)) as sn:
        code, found = check(ours.files(NodeKind.SL), "--sn", sn)
    (only,) = (x for x in bad(found) if x[0] == FAIL)
    assert "it does not accept our certificate" in only[2]
    assert "give its owner our CA's certificate" in only[3]
    assert code == 1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"expired": True}, "expired on"),
        ({"not_yet_valid": True}, "not valid before"),
        ({"common_name": "SN-1"}, "is a certificate of role SN, this node is SL"),
    ],
)
def test_own_certificate_will_not_do(
    pki: Pki, check: Check, what: dict[str, bool], said: str
) -> None:
    code, found = check(pki.bad_files(NodeKind.SL, **what))
    assert [said in x[2] for x in bad(found)] == [True]
    assert code == 1


def test_own_ca_is_missing(pki: Pki, check: Check) -> None:
    code, found = check(pki.bad_files(NodeKind.SL, wrong_ca=True))
    assert ("FAIL", "own CA") in [(x[0], x[1]) for x in bad(found)]
    assert code == 1


def test_a_key_that_others_can_read(pki: Pki, check: Check) -> None:
    files = pki.files(NodeKind.SL)
    Path(files["SWARM_ID_KEY"]).chmod(0o644)
    code, found = check(files)
    assert (WARN, "key") in [(x[0], x[1]) for x in bad(found)]
    assert code == 0


def test_their_certificate_has_expired(pki: Pki, check: Check) -> None:
    with serving(pki.bad_identity(NodeKind.SN, expired=True)) as sn:
        code, found = check(pki.files(NodeKind.SL), "--sn", sn)
    (only,) = (x for x in bad(found) if x[0] == FAIL)
    assert "certificate has expired" in only[2] and "renew" in only[3]
    assert code == 1


def test_another_node_answers_there(pki: Pki, check: Check) -> None:
    with serving(pki.identity(NodeKind.SL, "7")) as sl:
        code, found = check(pki.files(NodeKind.SL), "--sn", sl)
    (only,) = (x for x in bad(found) if x[0] == FAIL)
    assert "(SL-7 by CA-1" in only[2] and "has role SL, not SN" in only[2]
    assert code == 1


def test_nothing_answers(pki: Pki, check: Check) -> None:
    with serving(pki.identity(NodeKind.SN)) as gone:
        pass
    code, found = check(
        pki.files(NodeKind.SL), "--sn", gone, "--license", "nowhere.invalid", "--p2p", gone
    )
    subjects = [x[1] for x in bad(found) if x[0] == FAIL]
    assert subjects == [f"SN {gone}", "license server nowhere.invalid:5814",
                        f"SN peer to peer {gone}"]  # fmt: skip
    assert code == 1


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.0, OK), (20.0, WARN), (-20.0, WARN), (-90.0, FAIL)]
)
def test_clocks_that_differ(pki: Pki, check: Check, ahead: float, level: str) -> None:
    with serving(pki.identity(NodeKind.SN), ahead=ahead) as sn:
        code, found = check(pki.files(NodeKind.SL), "--sn", sn)
    (told,) = (x for x in found if x["subject"].startswith("clock"))
    assert told["level"] == level
    assert ("behind" in told["text"]) == (ahead > 0)
    assert ("ahead of" in told["text"]) == (ahead < 0)
    assert code == int(level == FAIL)


@pytest.mark.parametrize(
    ("units", "said"),
    [({"SL": (1, 4)}, "1 of 4 units for SL are free, 2 needed"), ({}, "no licence for SL"),
     ({"SL": (2, 4)}, None)],
)  # fmt: skip
def test_licences(
    pki: Pki, check: Check, units: dict[str, tuple[int, int]], said: str | None
) -> None:
    with serving(pki.identity(NodeKind.LICENSE), **units) as license_server:
        code, found = check(pki.files(NodeKind.SL), "--license", license_server, "--needs", "SL=2")
    told = [x[2] for x in bad(found) if x[1].startswith("licence")]
    assert [said in text for text in told] == ([True] if said else [])  # type: ignore[operator]
    assert code == int(said is not None)
