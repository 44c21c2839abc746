"""No planted secret comes through the redaction; what helps to find a fault does."""

import base64
import json
import string

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from compose.operate.collect_redact import MARK, Redactor

PRINTABLE = "".join(sorted(set(string.printable) - set(string.whitespace)))
SECRETS = st.text(PRINTABLE, min_size=4, max_size=60).map("zQ7".__add__)
"""What people and programs take for passwords: anything without blanks, and in no other word."""
PHRASES = st.lists(
    st.text(string.ascii_letters + string.digits + "!$%&", min_size=4, max_size=9),
    min_size=1, max_size=5,
).map(lambda words: "zQ7" + " ".join(words))  # fmt: skip
WORDS = st.sampled_from(
    ["PASSWORD", "Password", "password", "db_password", "API_TOKEN", "authToken", "clientSecret",
     "secret-key", "Auth", "passphrase", "REGISTRY_PASSWD", "apiKey", "setup_code", "csrf"]
)  # fmt: skip
NOISE = st.sampled_from(["", "2026-11-26T01:02:03.123456789Z ", "  "])


@pytest.fixture(scope="module")
def keys() -> list[str]:
    private = [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())]
    forms = (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    return [
        key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
        for key in private
        for form in forms
    ]


@given(WORDS, SECRETS, NOISE)
def test_a_field_of_yaml_or_a_log_hides_its_value(name: str, secret: str, noise: str) -> None:
    value = f"{secret} {secret}"
    out = Redactor().text(f"before\n{noise}{name}: {value}\nafter\n")
    assert secret not in out
    assert out.startswith("before\n") and out.endswith("after\n")


@given(WORDS, PHRASES, st.sampled_from(['"', "'"]), NOISE)
def test_quoted_values_go_whole_and_what_follows_stays(
    name: str, secret: str, quote: str, noise: str
) -> None:
    out = Redactor().text(f"{noise}x {name}={quote}{secret}{quote} node=sn-1 round=17\n")
    assert secret not in out
    assert "node=sn-1 round=17" in out or name == "setup_code"  # whose whole line goes


@given(WORDS, SECRETS)
def test_an_assignment_in_a_line_hides_its_value(name: str, secret: str) -> None:
    assert secret not in Redactor().text(f"calling with {name}={secret} now")


@given(WORDS, SECRETS)
def test_a_line_of_json_hides_its_values(name: str, secret: str) -> None:
    out = Redactor().text(
        "got " + json.dumps({"a": 1, name: secret, "b": [secret, {name: secret}]})
    )
    assert json.dumps(secret) not in out.split('"b"')[0]


@given(WORDS, SECRETS)
def test_json_in_json_hides_its_values(name: str, secret: str) -> None:
    inner = json.dumps({name: secret})
    out = Redactor().text(json.dumps({"body": inner}))
    assert json.dumps(json.dumps(secret))[1:-1] not in out


@given(WORDS, SECRETS)
def test_values_of_json_go_at_any_depth(name: str, secret: str) -> None:
    value = {"a": [{"b": {name: secret, "n": {name: {"user": secret, "list": [secret]}}}}]}
    assert json.dumps(secret) not in json.dumps(Redactor().json(value))


@given(st.sampled_from(["X_PASSWORD", "API_KEY", "SWARM_SETUP_CODE", "AWS_SECRET"]), SECRETS)
def test_a_variable_goes_and_its_value_is_found_elsewhere(name: str, secret: str) -> None:
    redactor = Redactor()
    redactor.learn_environment([f"{name}={secret}", "OTHER=1"])
    inspected = redactor.json({"Config": {"Env": [f"{name}={secret}", "OTHER=1"]}})
    assert inspected["Config"]["Env"] == [f"{name}={MARK}", "OTHER=1"]
    spoken = f"tried {secret} and {base64.b64encode(f'me:{secret}'.encode()).decode()}"
    out = redactor.text(spoken)
    assert secret not in out
    assert not redactor.leaks(out.encode())


@given(
    st.sampled_from(["|", "|-", ">", "", "!!str |", "&a |2"]),
    st.lists(SECRETS, min_size=1, max_size=5),
    st.integers(0, 4),
)
def test_a_block_of_yaml_below_a_secret_name_goes(
    head: str, secrets: list[str], depth: int
) -> None:
    outer, inner = " " * depth, " " * (depth + 3)
    body = "\n\n".join(f"{inner}{secret}" for secret in secrets)
    out = Redactor().text(f"{outer}Auth: {head}\n{body}\n{outer}Image: x/y:1\n")
    assert "zQ7" not in out
    assert out.endswith(f"{outer}Image: x/y:1\n")


@given(SECRETS.filter(lambda s: not set(s) & set("\"'<>`")), st.sampled_from(["http", "socks5h"]))
def test_credentials_of_a_url_go(secret: str, scheme: str) -> None:
    out = Redactor().text(f"proxy {scheme}://user:{secret}@proxy.example:3128/x is used")
    assert secret not in out
    assert "@proxy.example:3128/x is used" in out


@given(st.sampled_from(["Cookie", "Set-Cookie", "authorization", "X-CSRF-Token"]), SECRETS)
def test_headers_with_credentials_go(header: str, secret: str) -> None:
    assert secret not in Redactor().text(f"> {header}: swarm_license={secret}; Path=/\n")


@given(SECRETS)
def test_the_setup_code_goes(secret: str) -> None:
    for text in (f"setup code: {secret}", f"the one-time setup code is {secret}, open the page"):
        assert secret not in Redactor().text(text)


@given(st.integers(0, 3), st.integers(0, 3000), st.integers(1, 3000), st.booleans())
def test_no_line_of_a_torn_key_comes_through(
    keys: list[str], which: int, start: int, length: int, escaped: bool
) -> None:
    """A log that begins or ends in the middle of a key; 60 characters are a line of it."""
    key = keys[which]
    piece = key[start : start + length]
    out = Redactor().text(
        "before\n" + (json.dumps(piece) if escaped else piece) + "\nafter it all\n"
    )
    for line in key.splitlines()[1:-1]:
        if len(line) >= 60 and line in piece:
            assert line not in out
    assert out.startswith("before\n") and out.endswith("after it all\n")


def test_keys_go_in_every_form(keys: list[str]) -> None:
    for key in keys:
        body = "".join(key.splitlines()[1:-1])
        logged = "".join(f"2026-11-26T01:02:03Z {line}\n" for line in key.splitlines())
        encoded = base64.b64encode(key.encode()).decode()
        forms = [key, body, encoded, json.dumps({"k": key}), logged]
        for form in forms:
            out = Redactor().text(f"x {form} y")
            assert body[:60] not in out
            assert base64.b64encode(key.encode()).decode()[60:120] not in out
            assert not any(line in out for line in key.splitlines()[1:-1] if len(line) > 20)


def test_a_key_that_is_known_goes_line_by_line(keys: list[str]) -> None:
    redactor = Redactor()
    redactor.learn_key(keys[0])
    for line in keys[0].splitlines()[1:-1]:
        assert line not in redactor.text(f"only {line} of it")
    assert redactor.leaks(keys[0].encode())


KEPT = (
    "2026-11-26 01:02:03,456 : swarm.SL : INFO : round 3 merged "
    "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    "contract 0x6561c180CDA79e4a4FA750D90F6D3c634b02283d, chain 1990328326",
    "SWARM_ID_KEY=/identity/key.pem", "SWARM_ID_CERT=/identity/cert.pem",
    "image sha256:3e3f40255cfbd0a0bbd0a6aac5bd0a6aac5bd0a6aac5bd0a6aac5bd0a6aac5bd",
    "/var/lib/docker/overlay2/0d0f3e40255cfbd0a0bbd0a6aac5bd0a6aac5bd0a6aac5b/diff",
    "certificate 'SL-1' has role SL, but this needs SN or SWCI or SWOP: its CN must start with SN-",
    "/home/anna/swarm-learning/workspace/breast-cancer/results/node-3/accuracy.json",
    "swarm.blCnt : INFO : Starting SWARM-API-SERVER on port: 30304",
    "key of certs/sn-1-key.pem; author: anna; keyboard=de; monkey: yes",
)  # fmt: skip


@pytest.mark.parametrize("line", KEPT)
def test_what_helps_to_find_a_fault_stays(line: str) -> None:
    redactor = Redactor()
    assert redactor.text(line) == line
    assert not redactor.removed


def test_options_of_a_command_go() -> None:
    redactor = Redactor()
    assert redactor.json(["run", "--password", "abc", "--token=x y", "-v"]) == [
        "run", "--password", MARK, f"--token={MARK}", "-v",
    ]  # fmt: skip
    assert redactor.text("exec --password abc -v") == f"exec --password {MARK} -v"


@pytest.mark.parametrize(
    "text",
    [
        "PGPASSWORD=zQ7x-8 psql", "db-pw: zQ7x-8", "?identitytoken=zQ7x-8&x=1",
        "AccountKey=zQ7x-8;",
        "passwords: zQ7x-8", "jwt=zQ7x-8", "password%3DzQ7x-8", "x.basicauth.users: u:zQ7x-8",
        "curl -u bob:zQ7x-8 there", "curl --user 'bob:zQ7x-8' there", "mysql -h x -pzQ7x-8 db",
        "<db.password>zQ7x-8</db.password>", "the password is zQ7x-8", "Password 'zQ7x-8' accepted",
        "machine h login u password zQ7x-8", "- name: DB_PASSWORD\n  value: zQ7x-8",
        '{"name": "X-Api-Key", "value": "zQ7x-8"}', "name = 'token', value = 'zQ7x-8'",
        "\x1b[36mpassword\x1b[0m=\x1b[35mzQ7x-8\x1b[0m", "pass\u200bword=zQ7x-8",
        "pass\x00word=zQ7x-8", "\x9b31mtoken\x9b0m: zQ7x-8",
        r'{"log": "\u001b[36mtoken\u001b[0m=zQ7x-8"}', r"printf '\033[1mtoken\033[0m=zQ7x-8'",
    ],
)  # fmt: skip
def test_secrets_in_many_disguises(text: str) -> None:
    out = Redactor().text(f"before\n{text}\nafter\n")
    assert "zQ7x-8" not in out
    assert out.startswith("before\n") and out.endswith("after\n")


@pytest.mark.parametrize(
    "value",
    [
        {"Args": ["curl", "-u", "bob:zQ7x-8"]},
        {"headers": [["authorization", "zQ7x-8"], ["x-api-key", "zQ7x-8"]]},
        {"Env": [{"name": "DB_PASSWORD", "value": "zQ7x-8"}]},
        {"Name": "password", "Value": "zQ7x-8"},
        {"auths": {"h": {"identitytoken": "zQ7x-8"}}},
        {"passwords": ["zQ7x-8"]},
        {"Env": ['CONF={"a": {"token": "zQ7x-8"}}']},
    ],
)
def test_secrets_in_many_values(value: object) -> None:
    assert "zQ7x-8" not in json.dumps(Redactor().json(value))


def test_private_keys_in_hexadecimal_go_certificates_and_digests_stay(keys: list[str]) -> None:
    for key in keys:
        der = base64.b64decode("".join(key.splitlines()[1:-1])).hex()
        assert der not in Redactor().text(f"key {der} end")
        assert der[40:120] not in Redactor().text(f"key {der.upper()} end").lower()
    digest = "30820122" + "ab" * 28
    assert Redactor().text(f"sha256 {digest}") == f"sha256 {digest}"


@pytest.mark.parametrize(
    "text",
    [
        "--user 1000:1000", "-u 0:0", "max_tokenizers=3", "wrong password for user bob",
        "<name>bob</name>", "- name: NODE_ID\n  value: user-1", "the secret was not found",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text
