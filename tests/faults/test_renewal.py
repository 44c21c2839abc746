"""All certificates of a swarm are replaced during a training, by a new CA; nothing is lost (S2)."""

import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from compose.authority import BACKDATED, Authority

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]

OPTIONS = ("--sns", "3", "--min-peers", "3", "--quorum-seconds", "60")
BATCHES = 40
"""Before each tenth the ML programs wait until the test is so far."""
PATIENCE = 120
"""Seconds."""
PROGRAM = str(Path(__file__).with_name("ml_program.py"))


class Certificates:
    """The certificates of a running swarm."""

    def __init__(self, run):
        self.run = run
        self.folder = run.run_dir / "certs"
        self.cas = self.folder / "ca" / "capath"
        now = datetime.now(UTC)
        self.new = Authority.make("CA-NEW", now - BACKDATED, now + timedelta(days=9), use_rsa=True)

    def renew(self, cert):
        """Replace key and certificate, one after the other, as an operator does."""
        key = cert.with_name(cert.name.replace("-cert", "-key"))
        subject = load_pem_x509_certificate(cert.read_bytes()).subject.rfc4514_string()
        name = re.search(r"CN=([^,]+)", subject)[1]
        now = datetime.now(UTC)
        issued = self.new.issue(name, now - BACKDATED, now + timedelta(days=5))
        for path, content in ((key, issued.key_pem()), (cert, issued.cert_pem())):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.chmod(0o600)
            new.replace(path)

    def until_all_say(self, text):
        """Wait until each service's log has these words."""
        services = [n for n in self.run.pids if not n.startswith("ml-")]
        assert len(services) == 3 + 3 + 1, services

        deadline = time.monotonic() + PATIENCE  # the programs may wait: then the run says nothing
        while lacking := [name for name in services if text not in self.log(name)]:
            assert time.monotonic() < deadline, lacking
            time.sleep(0.1)

    def log(self, name):
        return (self.run.run_dir / "logs" / f"{name}.log").read_text()


def test_every_certificate_is_renewed_by_a_new_ca_during_a_training(swarm, tmp_path):
    gates = tmp_path / "gates"
    gates.mkdir()
    program = (sys.executable, PROGRAM, "{index}", str(BATCHES), "--gates", str(gates))
    run = swarm(BATCHES, *OPTIONS, nodes=3, program=program)
    run.until_round(4)
    certificates = Certificates(run)
    (certificates.cas / "ca-new-cert.pem").write_bytes(certificates.new.issued.cert_pem())
    certificates.until_all_say("CA trusted from now on: CN=CA-NEW")
    (gates / "10").touch()
    run.until_round(11)
    for cert in sorted(certificates.folder.glob("*-cert.pem")):
        certificates.renew(cert)
    certificates.until_all_say("certificate renewed: ")
    (gates / "20").touch()
    run.until_round(21)
    for old in certificates.cas.glob("ca-[0-9]*-cert.pem"):
        old.unlink()
    certificates.until_all_say("CA not trusted any more: ")
    (gates / "30").touch()
    result = run.result()
    assert result["exit_code"] == 0, result
    ledger = run.ledger()
    assert len(ledger) == BATCHES + 1
    assert all(len(r["contributors"]) == 3 for r in ledger)
    assert {ledger[-1]["digest"]} == set(result["digests"].values())
    assert len(run.ends()) == 1
    run.assert_nothing_left()
    for name in ("sl-1", "sl-2", "sl-3"):
        said = certificates.log(name)
        assert "another certificate: registering again" in said
        outcome = json.loads((run.run_dir / "nodes" / name / "result.json").read_text())
        assert outcome["outcome"] == "completed"
    for name in ("sn-1", "sn-2", "sn-3"):
        assert "cannot be used" not in certificates.log(name)
