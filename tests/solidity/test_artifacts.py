"""The committed artifacts, the compiler driver and the README, without a compiler."""

import json
import re
from pathlib import Path

import pytest

import contracts
from contracts import compile as compiling
from tests.solidity.evm import Evm

FOLDER = Path(contracts.__file__).parent
SOURCES = "\n".join(path.read_text() for path in (FOLDER / "src").glob("*.sol"))
README = (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", compiling.CONTRACTS)
def test_artifacts_load(name):
    artifact = contracts.load(name)
    assert bytes.fromhex(artifact.bytecode.removeprefix("0x"))
    assert {"constructor", "event", "error", "function"} == {e["type"] for e in artifact.abi}


TRANSACTION = 15_000_000
"""Gas that an SN gives one (``services/sn/adapters/outbox.py``)."""


def deploy(name):
    evm = Evm()
    tasks = evm.deploy("TaskRegistry", evm.registry.address)
    given = {
        "SwarmRegistry": (),
        "NodeRegistry": (evm.registry.address,),
        "TaskRegistry": (evm.registry.address,),
        "TrainingContract": (evm.registry.address, evm.nodes.address),
        "TaskRunner": (evm.registry.address, evm.nodes.address, tasks.address),
    }
    return evm, evm.deploy(name, *given[name])


@pytest.mark.parametrize("name", compiling.CONTRACTS)
def test_a_deployment_fits_into_a_transaction(name):
    """What docs/external-chain.md says, with what the transaction and its bytes cost (EIP-2028)."""
    code = bytes.fromhex(contracts.load(name).bytecode.removeprefix("0x"))
    itself = 53_000 + 16 * len(code)
    gas = deploy(name)[1].gas_used + itself
    assert gas < TRANSACTION / 2
    said = (FOLDER.parent / "docs" / "external-chain.md").read_text()
    [millions] = re.findall(rf"([0-9.]+) (?:million )?\({name}\)", said)
    assert gas / 1e6 == pytest.approx(float(millions), abs=0.1)


@pytest.mark.parametrize("name", compiling.CONTRACTS)
def test_the_code_is_short_enough_to_deploy(name):
    """EIP-170, on what a deployment leaves, not on what the artifact says of itself."""
    evm, deployed = deploy(name)
    size = len(evm.code(deployed.address))
    artifact = json.loads((FOLDER / "artifacts" / f"{name}.json").read_text())
    assert 1000 < size == artifact["codeSize"] < 24_576


def test_an_unknown_contract_is_an_error():
    with pytest.raises(FileNotFoundError):
        contracts.load("Nothing")


def test_the_readme_lists_all_refusal_codes():
    used = set(re.findall(r'Refused\(\s*"([a-z-]+)"', SOURCES))
    used |= set(re.findall(r'Refusals\.equal\("([a-z-]+)"', SOURCES))
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", README.partition("### Refusals")[2], re.M))
    assert len(used) > 10
    assert used == listed


@pytest.mark.parametrize("name", compiling.CONTRACTS)
def test_the_readme_lists_all_events_with_their_fields(name):
    for entry in contracts.load(name).abi:
        if entry["type"] != "event":
            continue
        fields = [field["name"] for field in entry["inputs"]]
        head = {"TrainingContract": ["generation", "round"], "TaskRunner": ["run"]}.get(name, [])
        assert fields[: len(head)] == head
        fields = fields[len(head) :]
        row = next(line for line in README.splitlines() if _is_row_of(entry["name"], line))
        assert (", ".join(fields) or "-") in row, entry["name"]


def _is_row_of(name, line):
    return re.search(rf"\b{name}`", line[:60]) is not None


def test_the_readme_lists_all_reasons():
    said = re.findall(r"_(?:depart|elect|replaceLeader|reopen)\(([^;]*)\);", SOURCES)
    reasons = {word for call in said for word in re.findall(r'"([a-z ]+)"', call)}
    assert {"quorum", "leader lost", "deadline passed", "peer left"} <= reasons
    assert all(f"`{reason}`" in README for reason in reasons)


def test_drift_names_what_differs(tmp_path):
    artifacts = {"A.json": "a", "B.json": "b", "C.json": "c"}
    compiling.write(artifacts, tmp_path)
    assert compiling.drift(artifacts, tmp_path) == []
    (tmp_path / "A.json").write_text("other")
    (tmp_path / "B.json").unlink()
    (tmp_path / "D.json").write_text("d")
    assert compiling.drift(artifacts, tmp_path) == [
        "contracts/artifacts/A.json is not what contracts/src compiles to.",
        "contracts/artifacts/B.json is missing.",
        "contracts/artifacts/D.json belongs to no contract.",
    ]
    compiling.write(artifacts, tmp_path)
    assert compiling.drift(artifacts, tmp_path) == []


def test_check_fails_on_drift_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_ARTIFACTS", tmp_path)
    monkeypatch.setattr(compiling, "build", lambda: {"A.json": "new"})
    assert compiling.main(["--check"]) == 1
    assert "A.json is missing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert compiling.main([]) == 0
    assert (tmp_path / "A.json").read_text() == "new"
    assert compiling.main(["--check"]) == 0


def test_a_contract_too_large_to_deploy_is_refused():
    compiled = {"evm": {"deployedBytecode": {"object": "00" * (compiling.CODE_LIMIT + 1)}}}
    with pytest.raises(compiling.CompileError, match="24577 bytes"):
        compiling._artifact("Big", compiled, "0.8")


def test_a_missing_compiler_is_explained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(compiling, "_SOLC", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiling.main([]) == 1
    assert "needs Node.js" in capsys.readouterr().err


def test_the_lock_file_names_no_registry():
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()
