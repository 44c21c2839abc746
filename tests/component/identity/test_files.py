"""Identity files as users bring them: CA file, CA folder, chains, junk, revocation lists."""

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from services.common import identity_files
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from tests.component.identity.site import DAY, Site, authority, crl, issue, pem, shake_hands


@pytest.fixture
def peer(tmp_path, ca):
    return Site(tmp_path / "peer", ca, "SN-1").identity(NodeKind.SN)


def meets(site, other, **changes):
    return shake_hands(site.identity(**changes).client_context(), other.server_context())


def test_a_ca_file_alone_does_and_both_together_trust_all(tmp_path, site, peer):
    file = tmp_path / "cas.pem"
    other = authority("CA-2")
    file.write_bytes(site.ca.issued.cert_pem())
    assert meets(site, peer, swarm_id_capath=None, swarm_id_cacert=file)
    file.write_bytes(other.issued.cert_pem())
    trusted = site.identity(swarm_id_cacert=file).material.trusted
    assert set(trusted) == {other.issued.certificate, site.ca.issued.certificate}


def test_one_file_with_several_cas_and_one_in_der(site):
    two, three = authority("CA-2"), authority("CA-3")
    (site.cas / "both.crt").write_bytes(site.ca.issued.cert_pem() + two.issued.cert_pem())
    (site.cas / "three.der").write_bytes(three.issued.certificate.public_bytes(Encoding.DER))
    trusted = set(site.identity().material.trusted)
    assert trusted == {each.issued.certificate for each in (site.ca, two, three)}


def test_junk_in_the_folder_is_passed_over_with_one_warning_each(site, peer, caplog):
    (site.cas / "readme.txt").write_text("hello")
    (site.cas / "key.pem").write_bytes(site.issued.key_pem())
    (site.cas / "leaf.pem").write_bytes(site.issued.cert_pem())
    (site.cas / "cut.pem").write_bytes(site.ca.issued.cert_pem()[:90])
    (site.cas / ".hidden").write_text("hello")
    (site.cas / "folder").mkdir()
    source = site.source()
    assert source.load().trusted == source.load().trusted == (site.ca.issued.certificate,)
    said = [r.getMessage() for r in caplog.records]
    assert sorted(text.split("capath/")[1].split()[0] for text in said) == [
        "cut.pem", "key.pem", "leaf.pem", "readme.txt",
    ]  # fmt: skip
    assert any("no CA's: not trusted" in text for text in said)


def test_too_many_and_too_large_files_are_not_read(site, caplog, monkeypatch):
    monkeypatch.setattr(identity_files, "MOST_FILES", 2)
    monkeypatch.setattr(identity_files, "LARGEST", 10_000)
    (site.cas / "d.pem").write_bytes(b"x" * 10_001)
    (site.cas / "e.pem").write_bytes(authority("CA-3").issued.cert_pem())
    assert site.identity().material.trusted == (site.ca.issued.certificate,)
    said = caplog.text
    assert "more than 2 files" in said
    assert "d.pem is larger than 10000 bytes" in said


def test_a_folder_of_junk_is_no_ca_at_all(site):
    (site.cas / "ca-1.pem").write_text("junk")
    with pytest.raises(ConfigError, match="no CA to trust: set SWARM_ID_CACERT"):
        site.identity()


def test_intermediate_cas_in_the_certificate_file_are_sent(tmp_path, ca, peer):
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    from compose import authority as making

    key = making._new_key(False)
    now = datetime.now(UTC)
    root_key = making._new_key(False)
    name = making._subject("CA-ROOT")
    root = (
        making._builder(name, name, root_key, now - DAY, now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    middle = (
        making._builder(name, making._subject("CA-MIDDLE"), key, now - DAY, now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    below = making.Authority(making.Issued(key, middle))
    site = Site(tmp_path / "below", below)
    (site.cas / "ca-1.pem").write_bytes(pem(root) + ca.issued.cert_pem())
    other = Site(tmp_path / "other", ca, "SN-2")
    (other.cas / "root.pem").write_bytes(pem(root))
    server = other.identity(NodeKind.SN).server_context()
    with pytest.raises(ssl.SSLError):
        shake_hands(site.identity().client_context(), server)
    site.cert.write_bytes(site.issued.cert_pem() + pem(middle))
    assert shake_hands(site.identity().client_context(), server)


# --- revocation


def test_a_revoked_certificate_is_refused_by_both_ends(tmp_path, ca, site, caplog):
    other = Site(tmp_path / "other", ca, "SN-1")
    (other.cas / "list.crl").write_bytes(pem(crl(ca, site.issued)))
    careful = other.identity(NodeKind.SN)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked: serial"):
        shake_hands(site.identity().client_context(), careful.server_context())
    assert "TLS client refused: certificate revoked" in caplog.text
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked: serial"):
        shake_hands(careful.client_context(), site.identity().server_context())


def test_a_crl_in_der_or_beside_its_ca_counts_too(tmp_path, ca, site):
    other = Site(tmp_path / "other", ca, "SN-1")
    (other.cas / "ca-1.pem").write_bytes(ca.issued.cert_pem() + pem(crl(ca, site.issued)))
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        meets(site, other.identity(NodeKind.SN))
    other.trust(ca, "ca-1.pem")
    assert meets(site, other.identity(NodeKind.SN))
    der = crl(ca, site.issued).public_bytes(Encoding.DER)
    (other.cas / "list.crl").write_bytes(der)
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        meets(site, other.identity(NodeKind.SN))


def test_a_crl_refuses_nobody_that_is_not_on_it_nor_whom_another_ca_signed(tmp_path, ca, site):
    other = Site(tmp_path / "other", ca, "SN-1")
    namesake = authority("CA-1")
    other.trust(namesake, "namesake.pem")
    (other.cas / "one.crl").write_bytes(pem(crl(ca, issue(ca))))
    (other.cas / "two.crl").write_bytes(pem(crl(namesake, site.issued)))
    assert meets(site, other.identity(NodeKind.SN))


def test_a_crl_of_a_stranger_and_an_old_one_are_told(tmp_path, ca, site, caplog):
    (site.cas / "a.crl").write_bytes(pem(crl(authority("CA-9"))))
    (site.cas / "b.crl").write_bytes(pem(crl(ca, end=-DAY / 2)))
    site.identity()
    assert "CRL of CN=CA-9,OU=Swarm-Learning is signed by no CA that we trust" in caplog.text
    assert "CRL of CN=CA-1,OU=Swarm-Learning should have been replaced by" in caplog.text
