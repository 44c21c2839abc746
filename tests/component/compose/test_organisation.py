"""An organisation's folder: made, completed, renewed, and checked."""

import os
import shutil
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from compose.organisation import main, prepare
from services.common.errors import ConfigError


def digest(path: Path) -> str:
    return load_pem_x509_certificate(path.read_bytes()).fingerprint(SHA256()).hex(":").upper()


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_new_folder(tmp_path: Path):
    lines = prepare(tmp_path, 2, 2)
    own = tmp_path / "certs" / "ca" / "capath" / "ca-2-cert.pem"
    assert lines == [
        f"trusts ca-2-cert.pem (ours: send this file to the others), SHA-256 {digest(own)}",
        "trusts nobody else yet: put the CA certificate of each other organisation beside "
        "ca-2-cert.pem, in certs/ca/capath, before you start",
    ]
    nodes = {"sn-1": "sn", "sl-1": "sl", "sl-2": "sl", "swci": "swci", "license": "lic"}
    assert {each.name for each in (tmp_path / "identity").iterdir()} == set(nodes)
    for node, kind in nodes.items():
        for part in ("key.pem", "cert.pem"):
            laid = tmp_path / "identity" / node / part
            assert laid.read_bytes() == (tmp_path / "certs" / f"{kind}-2-{part}").read_bytes()
        assert (tmp_path / "identity" / node / "key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "results" / "ml-2").is_dir()
    assert (tmp_path / "swci").is_dir()


def test_again_changes_nothing_and_shows_whom_it_trusts(tmp_path: Path):
    prepare(tmp_path / "a", 1, 2)
    prepare(tmp_path / "b", 2, 2)
    sent = tmp_path / "a" / "certs" / "ca" / "capath" / "ca-1-cert.pem"
    shutil.copy(sent, tmp_path / "b" / "certs" / "ca" / "capath")
    before = files(tmp_path / "b")
    lines = prepare(tmp_path / "b", 2, 2)
    assert files(tmp_path / "b") == before
    assert lines[0] == f"trusts ca-1-cert.pem (another's), SHA-256 {digest(sent)}"
    assert len(lines) == 2


def test_a_renewal_keeps_the_ca(tmp_path: Path):
    prepare(tmp_path, 1, 1)
    before = files(tmp_path)
    prepare(tmp_path, 1, 1, renew=True)
    after = files(tmp_path)
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same == {"certs/ca/ca-1-key.pem", "certs/ca/capath/ca-1-cert.pem"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(tmp_path / "identity" / "sl-1" / f"{p}.pem" for p in ("cert", "key")))


def test_what_was_sent_is_no_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepare(tmp_path, 1, 1)
    (tmp_path / "certs" / "ca" / "capath" / "ca-2-cert.pem").write_text("hello")
    assert main([str(tmp_path), "--index", "1", "--pairs", "1"]) == ConfigError.exit_code
    assert "ca-2-cert.pem is no certificate (PEM)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "certs").write_text("a file")
    with pytest.raises(ConfigError):
        prepare(tmp_path, 1, 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path), "--index", "3"]) == 0
    assert "ca-3-cert.pem (ours: send this file" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_all_in_it_belongs_to_whom_the_folder_belongs_to(tmp_path: Path):
    assert main([str(tmp_path), "--index", "1", "--owner", "1234:1235"]) == 0
    assert main([str(tmp_path), "--index", "1", "--renew"]) == 0
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert owners == {(1234, 1235)}
