"""``python -m compose.certs``: the layout, what is in the certificates, and ``--check``."""

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from compose.authority import Authority
from compose.certs import main, make_certificates
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import load_identity

ROOT = Path(__file__).parents[2]
NODES = ["sn", "sl", "swci", "swop", "lic"]


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def layout(hosts, nodes=NODES):
    return {
        name
        for i in hosts
        for name in (
            f"ca/ca-{i}-key.pem",
            f"ca/capath/ca-{i}-cert.pem",
            *(f"{node}-{i}-{what}.pem" for node in nodes for what in ("key", "cert")),
        )
    }


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def identity(folder, node, host=1):
    return load_identity(
        NodeSettings(
            swarm_id_key=folder / f"{node}-{host}-key.pem",
            swarm_id_cert=folder / f"{node}-{host}-cert.pem",
            swarm_id_capath=folder / "ca" / "capath",
        ),
        NodeKind(node.upper()),
    )


def shake_hands(client_context, server_context):
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server.getpeercert() is not None


def check(folder, capsys):
    code = main(["--check", str(folder)])
    out, err = capsys.readouterr()
    return code, out + err


def verdict(text, name):
    return next(line for line in text.splitlines() if f"/{name}:" in line)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "certs"
    make_certificates(made)
    return made


# --- making


def test_as_a_command(tmp_path):
    out = tmp_path / "certs"
    made = subprocess.run(
        [sys.executable, "-m", "compose.certs", str(out), "--hosts", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert set(files(out)) == layout([1, 2])
    assert {Path(line) for line in made.stdout.splitlines()} == {out / n for n in layout([1, 2])}


def test_keys_are_private(folder):
    for name in layout([1]):
        if name.endswith("key.pem"):
            assert (folder / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("node", NODES)
def test_what_is_in_a_node_certificate(folder, node):
    certificate = read(folder / f"{node}-1-cert.pem")
    assert certificate.subject.rfc4514_string() == f"CN={node.upper()}-1,OU=Swarm-Learning"
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    get = certificate.extensions.get_extension_for_class
    usage = get(x509.KeyUsage).value
    assert usage.digital_signature
    assert not (usage.key_cert_sign or usage.crl_sign)
    assert not get(x509.BasicConstraints).value.ca
    assert set(get(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=364) < left <= timedelta(days=365)


def test_a_clock_ten_minutes_behind_can_use_them(folder):
    certificate = read(folder / "sn-1-cert.pem")
    assert certificate.not_valid_before_utc < datetime.now(UTC) - timedelta(minutes=10)


def test_two_hosts_trust_each_other_even_under_strict_checks(tmp_path):
    make_certificates(tmp_path, hosts=[1, 2])
    server = identity(tmp_path, "sn", 1).server_context()
    client = identity(tmp_path, "sl", 2).client_context()
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shake_hands(client, server)


def test_other_folders_are_strangers(tmp_path):
    make_certificates(tmp_path / "a")
    make_certificates(tmp_path / "b")
    client = identity(tmp_path / "b", "sl").client_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, identity(tmp_path / "a", "sn").server_context())


def test_rsa_days_and_nodes(tmp_path):
    make_certificates(tmp_path, hosts=[3], nodes=["sl"], days=7, use_rsa=True)
    assert set(files(tmp_path)) == layout([3], ["sl"])
    certificate = read(tmp_path / "sl-3-cert.pem")
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=7, minutes=1)


def test_nothing_is_overwritten_without_force(folder):
    before = files(folder)
    with pytest.raises(ConfigError, match=r"exists already .*--force"):
        make_certificates(folder)
    with pytest.raises(ConfigError, match="exists already"):
        make_certificates(folder, hosts=[1, 2])
    assert files(folder) == before


def test_force_renews_the_nodes_and_keeps_the_ca(folder):
    before = files(folder)
    make_certificates(folder, force=True)
    after = files(folder)
    assert after.keys() == before.keys()
    unchanged = {name for name in after if after[name] == before[name]}
    assert unchanged == {"ca/ca-1-key.pem", "ca/capath/ca-1-cert.pem"}
    assert identity(folder, "sl")


def test_a_kind_can_be_added_later_under_the_same_ca(tmp_path):
    make_certificates(tmp_path, nodes=["sn"])
    make_certificates(tmp_path, nodes=["sl"])
    assert shake_hands(
        identity(tmp_path, "sl").client_context(), identity(tmp_path, "sn").server_context()
    )


def test_an_expired_ca_is_replaced_only_by_force(tmp_path):
    past = datetime.now(UTC) - timedelta(days=9)
    (tmp_path / "ca" / "capath").mkdir(parents=True)
    paths = tmp_path / "ca" / "ca-1-key.pem", tmp_path / "ca" / "capath" / "ca-1-cert.pem"
    ended = Authority.make("CA-1", past, past + timedelta(days=1), use_rsa=False)
    ended.issued.write(*paths)
    with pytest.raises(ConfigError, match="has expired: --force"):
        make_certificates(tmp_path, nodes=["sn"])
    make_certificates(tmp_path, nodes=["sn"], force=True)
    assert identity(tmp_path, "sn")


def test_a_ca_whose_key_is_elsewhere_is_left_alone(folder):
    (folder / "ca" / "ca-1-key.pem").unlink()
    before = files(folder)
    with pytest.raises(ConfigError, match="but not its key"):
        make_certificates(folder, force=True)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nodes", "sn,xx"], "unknown node kind ['xx']"),
        (["--hosts", "0"], "numbered from 1"),
        (["--days", "0"], "days must be"),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, says):
    assert main([str(tmp_path / "x"), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "x").write_text("a file")
    assert main([str(tmp_path / "x")]) == 2
    assert "cannot write certificates" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    assert "--check DIR" in capsys.readouterr().out


# --- checking


def test_check_likes_our_own(folder, capsys):
    code, text = check(folder, capsys)
    assert code == 0
    assert all(line.startswith("OK ") for line in text.splitlines())
    assert "role SN, CN SN-1, until" in verdict(text, "sn-1-cert.pem")


def issue(folder, name, cn, days=(-1, 1), authority=None):
    now = datetime.now(UTC)
    authority = authority or Authority.load(
        folder / "ca" / "ca-1-key.pem", folder / "ca" / "capath" / "ca-1-cert.pem"
    )
    start, end = (now + timedelta(days=day) for day in days)
    issued = authority.issue(cn, start, end)
    issued.write(folder / f"{name}-key.pem", folder / f"{name}-cert.pem")


def stranger():
    now = datetime.now(UTC)
    return Authority.make("CA-1", now - timedelta(days=1), now + timedelta(days=9), use_rsa=False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: issue(f, "x", "SL-1", days=(-9, -1)), "expired on"),
        (lambda f: issue(f, "x", "SL-1", days=(1, 9)), "not valid before"),
        (lambda f: issue(f, "x", "alice"), "no role: the CN ('alice') must start with SN-"),
        (lambda f: issue(f, "x", "SL-1", authority=stranger()), "not trusted: "),
    ],
    ids=["expired", "not yet valid", "no role", "other CA"],
)
def test_check_finds_what_is_wrong(folder, capsys, make, says):
    make(folder)
    code, text = check(folder, capsys)
    assert code == 2
    line = verdict(text, "x-cert.pem")
    assert line.startswith("BAD ")
    assert says in line
    assert sum(line.startswith("BAD") for line in text.splitlines()) == 1


def test_check_warns_of_what_ends_soon_and_of_open_keys(folder, capsys):
    issue(folder, "x", "SL-1", days=(-1, 3))
    (folder / "sn-1-key.pem").chmod(0o644)
    code, text = check(folder, capsys)
    assert code == 0
    assert "expires in 2 days" in verdict(text, "x-cert.pem")
    assert "WARN" in verdict(text, "sn-1-key.pem")
    assert "chmod 600" in verdict(text, "sn-1-key.pem")


def test_check_misses_keys_and_cas(folder, capsys):
    (folder / "sl-1-key.pem").unlink()
    code, text = check(folder, capsys)
    assert code == 2
    assert "its private key is not in this folder" in verdict(text, "sl-1-cert.pem")
    (folder / "ca" / "capath" / "ca-1-cert.pem").unlink()
    code, text = check(folder, capsys)
    assert "no CA certificate in this folder" in verdict(text, "sn-1-cert.pem")


def test_check_reads_garbage_without_harm(folder, capsys):
    (folder / "bad.pem").write_bytes(b"\x00\xffgarbage")
    (folder / "cut.pem").write_bytes((folder / "sn-1-cert.pem").read_bytes()[:300])
    code, text = check(folder, capsys)
    assert code == 2
    assert "neither a PEM certificate nor a PEM private key" in verdict(text, "bad.pem")
    assert verdict(text, "cut.pem").startswith("BAD ")


def test_check_says_that_an_encrypted_key_cannot_be_used(folder, capsys):
    s = serialization

    path = folder / "sn-1-key.pem"
    key = s.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x"))
    )
    code, text = check(folder, capsys)
    assert code == 2
    assert "without a passphrase" in verdict(text, "sn-1-key.pem")


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


def own(folder, name, cn, extensions):
    """A user's own certificate, made with OpenSSL; returns nothing."""
    (folder / f"{name}.ext").write_text("\n".join(extensions))
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out",
        f"{name}.csr", "-subj", f"/OU=Swarm-Learning/CN={cn}", cwd=folder,
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", "ca/capath/ca-1-cert.pem", "-CAkey",
        "ca/ca-1-key.pem", "-set_serial", "5", "-days", "30", "-extfile", f"{name}.ext", "-out",
        f"{name}-cert.pem", cwd=folder,
    )  # fmt: skip


def test_check_accepts_hpes_kind_of_certificate(folder, capsys):
    own(
        folder, "hpe", "SN-9",
        ["basicConstraints=critical,CA:FALSE", "keyUsage=digitalSignature,keyCertSign",
         "subjectAltName=DNS:SN-9"],
    )  # fmt: skip
    code, text = check(folder, capsys)
    assert code == 0
    assert verdict(text, "hpe-cert.pem").startswith("OK ")


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        ("extendedKeyUsage=serverAuth", "must hold serverAuth and clientAuth"),
        ("keyUsage=keyEncipherment", "lacks digitalSignature"),
    ],
)
def test_check_finds_certificates_for_another_purpose(folder, capsys, extension, says):
    own(folder, "web", "SL-9", ["basicConstraints=CA:FALSE", extension])
    code, text = check(folder, capsys)
    assert code == 2
    assert says in verdict(text, "web-cert.pem")


def test_check_takes_file_names_at_their_word(folder, capsys):
    (folder / "sl-1-key.pem").rename(folder / "other-key.pem")
    for what in ("key", "cert"):
        (folder / f"swop-1-{what}.pem").rename(folder / f"sn-7-{what}.pem")
    code, text = check(folder, capsys)
    assert code == 2
    assert "its key must be sl-1-key.pem, next to it" in verdict(text, "sl-1-cert.pem")
    assert "its role is SWOP, but its file name says SN" in verdict(text, "sn-7-cert.pem")
    (folder / "lic-1-key.pem").replace(folder / "sl-1-key.pem")
    assert "sl-1-key.pem is not its key" in verdict(check(folder, capsys)[1], "sl-1-cert.pem")


def test_index_0_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "new"), "--index", "0"]) == 2
    assert "hosts are numbered from 1" in capsys.readouterr().err


def test_check_of_nothing(tmp_path, capsys):
    assert main(["--check", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["--check", str(tmp_path)]) == 2
    assert "no node certificate" in capsys.readouterr().err


def test_names_of_the_host_stand_in_the_nodes_certificates(tmp_path, capsys):
    words = [str(tmp_path), "--nodes", "sn", "--host", "node.example", "--host", "192.0.2.11"]
    assert main(words) == 0
    certificate = read(tmp_path / "sn-1-cert.pem")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["SN-1", "node.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.11"]


def test_a_name_that_no_certificate_can_hold_makes_nothing(tmp_path, capsys):
    assert main([str(tmp_path), "--host", "nöde.example"]) == 2
    assert "neither an address nor a name in ASCII" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
