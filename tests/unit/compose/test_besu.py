"""A generated Besu network, held against what Besu's documentation says. Besu itself never ran.

``besu/*.json`` beside this file were written from that documentation; each names its pages.
"""

import itertools
import json
import random
import re
import stat
import tomllib
from pathlib import Path

import jsonschema
import pytest
import rlp
import yaml
from eth_account import Account

from compose.besu import composition, folder, genesis
from compose.besu.__main__ import main
from compose.besu.network import Network, Options
from services.common.errors import ConfigError
from services.sn.adapters import chain, evm_store
from services.sn.settings import API_PORT, P2P_PORT, SnSettings

FACTS = Path(__file__).with_name("besu")
ADAPTERS = Path(chain.__file__).parent
SERVED = {"json_rpc.py", "json_views.py", "embedded_chain.py"}
"""Adapters that answer JSON-RPC; the others ask."""
SECRET = re.compile(r"0x[0-9a-f]{64}\b")


def facts(name):
    return json.loads((FACTS / name).read_text())


def network(seed=1, **options):
    return Network.make(Options(**options), random.Random(seed).randbytes)


@pytest.fixture(name="made")
def made_folder(tmp_path):
    path = tmp_path / "net"
    folder.write(network(), path)
    return path


def files(path):
    return {
        str(each.relative_to(path)): each.read_text() for each in path.rglob("*") if each.is_file()
    }


def toml(path):
    return tomllib.loads((path / "config/config.toml").read_text())


def with_defaults(text, env):
    """As compose fills in ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: env.get(found[1], found[2]), text)


def environment(path):
    lines = (path / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def composed(path, name="compose.yaml"):
    return yaml.safe_load(with_defaults((path / name).read_text(), environment(path)))


# --- genesis


@pytest.mark.parametrize("count", [4, 7, 32])
def test_the_genesis_file_is_one_for_qbft_with_free_gas(count):
    made = genesis.genesis(network(validators=count, chain_id=4711, block_seconds=3))
    jsonschema.validate(made, facts("genesis.schema.json"))
    assert made["config"]["chainId"] == 4711
    assert made["config"]["zeroBaseFee"] is True
    assert made["config"]["qbft"]["blockperiodseconds"] == 3
    assert made["config"]["qbft"]["requesttimeoutseconds"] == 6


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made["config"].pop("zeroBaseFee"),
        lambda made: made["config"].pop("qbft"),
        lambda made: made["config"]["qbft"].pop("epochlength"),
        lambda made: made.update(mixHash="0x00"),
        lambda made: made.update(difficulty=1),
        lambda made: made["config"].update(shanghaiBlock=0),  # it is a time
        lambda made: made.update(gasLimit=10**9),
    ],
)
def test_the_schema_sees_what_is_wrong(change):
    made = genesis.genesis(network())
    change(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, facts("genesis.schema.json"))


def test_extra_data_is_what_the_documentation_shows():
    # "Configure QBFT consensus", the first example genesis file: four validators, ascending.
    validators = [
        "64a702e6263b7297a96638cac6ae65e6541f4169", "943923390ad55e90c237593b3b0e401f3b08a031",
        "aefdb9a738c9f433e5b6b212a6d62f6370c2f692", "c7eeb9a4e00ce683cf93039b212648e01c6c6b78",
    ]  # fmt: skip
    expected = f"0xf87aa0{'0' * 64}f854{''.join(f'94{each}' for each in validators)}c080c0"
    assert genesis.extra_data(bytes.fromhex(each) for each in reversed(validators)) == expected


def test_extra_data_names_exactly_the_validators():
    made = network()
    vanity, validators, votes, number, seals = rlp.decode(
        bytes.fromhex(genesis.genesis(made)["extraData"].removeprefix("0x"))
    )
    assert (vanity, votes, number, seals) == (bytes(32), [], b"", [])
    keys = [Account.from_key(each.key.text().strip()) for each in made.validators]
    assert [f"0x{each.hex()}" for each in validators] == sorted(
        key.address.lower() for key in keys
    )  # fmt: skip


def test_a_block_takes_many_of_our_transactions():
    assert int(genesis.genesis(network())["gasLimit"], 16) >= 100 * chain.GAS
    assert chain.GAS < 2**24, "Osaka limits a transaction to that much (EIP-7825)"


def opcodes(code):
    """Those that can be reached: after a jump or an end there may be data up to the next label."""
    at, reached = 0, True
    while at < len(code):
        reached |= code[at] == 0x5B  # JUMPDEST
        if reached:
            yield code[at]
        if code[at] in {0x00, 0x56, 0xF3, 0xFD, 0xFE}:  # STOP, JUMP, RETURN, REVERT, INVALID
            reached = False
        carried = code[at] - 0x5F if reached and 0x60 <= code[at] <= 0x7F else 0  # PUSH1 to PUSH32
        at += 1 + carried


def test_our_contracts_use_no_opcode_later_than_london():
    config = genesis.genesis(network())["config"]
    assert {name for name in config if name.endswith(("Block", "Time"))} == {"londonBlock"}
    later = {
        0x5F,
        0x49,
        0x4A,
        0x5C,
        0x5D,
        0x5E,
    }  # PUSH0, BLOBHASH, BLOBBASEFEE, TLOAD, TSTORE, MCOPY
    prevrandao = 0x44  # DIFFICULTY before Paris: another meaning
    assert list(opcodes(b"\x60\x5f\x5f\x80\x56\x5c\x5b\x5d")) == [
        0x60,
        0x5F,
        0x80,
        0x56,
        0x5B,
        0x5D,
    ]
    for artifact in (ADAPTERS.parents[2] / "contracts/artifacts").glob("*.json"):
        found = json.loads(artifact.read_text())
        code = bytes.fromhex(found["bytecode"].removeprefix("0x"))
        running = len(code) - found["codeSize"]
        for part in (code[:running], code[running:]):
            used = set(opcodes(part))
            assert 0x52 in used  # MSTORE
            assert not used & {*later, prevrandao}, artifact.name


# --- what Besu is told


def test_every_setting_is_an_option_of_besu(made):
    known = {*facts("options.json")["public"], *facts("options.json")["private"]}
    assert set(toml(made)) <= known
    for service in composed(made)["services"].values():
        names = {
            name.removeprefix("BESU_").lower().replace("_", "-")
            for name in service["environment"]
            if name != "BESU_OPTS"  # not an option: what the start script hands to Java
        }
        assert names <= known
        assert service["command"] == ["--config-file=/etc/besu/config.toml"]


def test_gas_is_free_and_one_account_may_fill_the_pool(made):
    found = toml(made)
    assert found["min-gas-price"] == 0
    assert int(found["tx-pool-min-gas-price"]) <= found["min-gas-price"]
    assert found["tx-pool-limit-by-account-percentage"] == 1
    assert "tx-pool-price-bump" not in found, "refused together with zeroBaseFee"


def test_an_sn_can_read_as_far_back_as_it_does(made):
    found = toml(made)
    assert found["sync-mode"] == "FULL"
    assert found["bonsai-limit-trie-logs-enabled"] is False, "required with FULL"
    assert found["bonsai-historical-block-limit"] >= 512
    assert found["rpc-max-logs-range"] >= chain.LOG_BLOCKS
    assert found["revert-reason-enabled"] is True


def test_every_method_that_an_sn_calls_is_open(made):
    called = set()
    for module in ADAPTERS.glob("*.py"):
        if module.name not in SERVED:
            called |= set(re.findall(r'"((?:eth|web3|net)_\w+)"', module.read_text()))
    assert "eth_sendRawTransaction" in called
    called.remove("eth_getBlockReceipts")  # an audit does without where it is not there
    known = facts("methods.json")
    open_methods = set(itertools.chain(*(known[api] for api in toml(made)["rpc-http-api"])))
    assert called <= open_methods
    assert "qbft_proposeValidatorVote" not in open_methods, "voting is for the operators"


@pytest.mark.parametrize(
    "method",
    [
        "eth_call", "eth_chainId", "eth_getBlockByNumber", "eth_getCode", "eth_getLogs",
        "eth_getTransactionByHash", "eth_getTransactionCount", "eth_getTransactionReceipt",
        "eth_sendRawTransaction", "web3_clientVersion",
    ],
)  # fmt: skip
def test_what_the_external_engine_calls_is_documented(method):
    assert method in [*facts("methods.json")["ETH"], *facts("methods.json")["WEB3"]]


# --- keys and links


def test_enodes_belong_to_the_keys_and_to_the_containers(made):
    services = composed(made)["services"]
    enodes = []
    for name, service in services.items():
        key = Account.from_key((made / name / folder.KEY_FILE).read_text().strip())
        public = key._key_obj.public_key.to_bytes().hex()
        address = service["networks"]["chain"]["ipv4_address"]
        assert service["environment"]["BESU_P2P_HOST"] == address
        enodes.append(f"enode://{public}@{address}:{toml(made)['p2p-port']}")
    assert len(set(enodes)) == 4
    assert services["besu-1"]["networks"]["chain"]["ipv4_address"] == "172.30.87.11"
    for name in services:
        assert json.loads((made / name / "static-nodes.json").read_text()) == enodes
        allowed = tomllib.loads((made / name / "permissions_config.toml").read_text())
        assert allowed == {"nodes-allowlist": enodes}


def test_keys_are_private_and_nowhere_else(made):
    texts = files(made)
    keys = {f"besu-{n}/key" for n in range(1, 5)} | {f"sn-{n}/account.key" for n in range(1, 5)}
    assert {name for name, text in texts.items() if SECRET.fullmatch(text.strip())} == keys
    assert len({texts[name] for name in keys}) == 8
    for name in keys:
        assert stat.S_IMODE((made / name).stat().st_mode) == 0o600
        digits = texts[name].strip().removeprefix("0x")
        assert [other for other, text in texts.items() if digits in text] == [name]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert texts[".gitignore"] == "*\n"


def test_a_key_never_shows_itself():
    key = network().validators[0].key
    assert key.text().strip().removeprefix("0x") not in f"{key!r} {key} {network()!r}"


def test_no_key_is_in_the_repository():
    sources = [*Path(folder.__file__).parent.glob("*.py"), *FACTS.glob("*.json")]
    allowed = {genesis.MIX_HASH, genesis.ZERO_HASH}
    for source in sources:
        assert set(SECRET.findall(source.read_text())) <= allowed, source


# --- compose files


def test_the_composition_is_four_validators_that_nobody_outside_reaches(made):
    found = composed(made)
    assert list(found["services"]) == ["besu-1", "besu-2", "besu-3", "besu-4"]
    assert found["networks"]["chain"]["internal"] is True
    for name, service in found["services"].items():
        assert "ports" not in service
        assert list(service["networks"]) == ["chain"]
        assert service["restart"] == "unless-stopped"
        assert service["image"] == composition.IMAGE
        assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+", service["image"]), "pinned"
        assert service["user"] == environment(made)["BESU_USER"]
        assert service["volumes"] == ["./config:/etc/besu:ro", f"./{name}:/var/lib/besu"]
        assert toml(made)["data-path"] == "/var/lib/besu"


def test_json_rpc_is_published_on_this_host_only_and_the_sns_find_it(made):
    services, ports = composed(made, "compose.rpc.yaml")["services"], set()
    for index, (name, service) in enumerate(services.items(), start=1):
        host, outside, inside = service["ports"][0].split(":")
        assert (host, inside) == ("127.0.0.1", toml(made)["rpc-http-port"])
        sn = (made / f"sn-{index}.env").read_text().splitlines()
        env = dict(line.split("=", 1) for line in sn if not line.startswith("#"))
        assert env["SN_CHAIN"] == "rpc"
        assert env["SN_ETH_RPC_URL"] == f"http://{host}:{outside}"
        assert env["SN_DATA_DIR"] == str(made / f"sn-{index}")
        assert (env["SN_I_AM_SENTINEL"] == "true") is (index == 1)
        assert {"localhost", host, name} <= set(toml(made)["host-allowlist"])
        known = {name.upper() for name in SnSettings.model_fields}
        ports |= {env["SN_API_SERVER_PORT"], env["SN_P2P_LISTEN_PORT"]}
        assert set(env) - {"SN_CHAIN", "SN_ETH_RPC_URL"} <= known
    assert len(ports) == 8
    assert {str(P2P_PORT), str(API_PORT)} <= ports, "the first SN has the usual ones"
    assert folder.ACCOUNT_FILE == evm_store.KEY


def test_a_node_is_healthy_once_a_quorum_could_sign():
    for count, peers in ((4, 2), (5, 3), (7, 4), (10, 6)):
        assert f"minPeers={peers}&" in composition.probe(network(validators=count))[-1]


# --- the folder


def test_equal_entropy_gives_equal_files_and_other_entropy_other_keys(tmp_path):
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder.write(network(seed), tmp_path / name)
        texts.append({k: v.replace(f"/{name}/", "/x/") for k, v in files(tmp_path / name).items()})
    assert texts[0] == texts[1]
    assert {k for k in texts[0] if texts[0][k] == texts[2][k]} == {
        ".env", ".gitignore", "compose.yaml", "compose.rpc.yaml", "config/config.toml",
        *(f"sn-{n}.env" for n in range(1, 5)),
    }  # fmt: skip


def test_a_folder_with_something_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "precious").write_text("mine")
    assert main([str(tmp_path)]) == ConfigError.exit_code
    assert "not empty" in capsys.readouterr().err
    assert files(tmp_path) == {"precious": "mine"}


def test_what_could_not_be_finished_is_taken_back(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(folder, "_give", fail)
    with pytest.raises(ConfigError, match="disk full"):
        folder.write(network(), tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"validators": 3}, "--validators"),
        ({"validators": 33}, "--validators"),
        ({"chain_id": -1}, "--chain-id"),
        ({"chain_id": 2**31}, "--chain-id"),
        ({"block_seconds": 0}, "--block-seconds"),
        ({"subnet": "172.30.87.0/29"}, "too small"),
        ({"subnet": "fd00::/64"}, "--subnet"),
        ({"rpc_port": 65_534}, "--rpc-port"),
    ],
)
def test_options_out_of_bounds_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        network(**options)


def test_the_command_prints_accounts_and_no_keys(tmp_path, capsys):
    assert main([str(tmp_path / "net"), "--chain-id", "77", "--validators", "5"]) == 0
    out = capsys.readouterr().out
    assert "chain 77," in out
    assert out.count("besu-") == 5
    assert not SECRET.search(out)
    assert json.loads((tmp_path / "net/config/genesis.json").read_text())["config"]["chainId"] == 77
