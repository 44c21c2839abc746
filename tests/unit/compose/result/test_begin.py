"""What makes room for a new training, and what does not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from compose.result import begin as module
from compose.result.read import Folder, uid_of
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.sn_api import ContractState, ContractView, NodeInfo, Phase
from services.common.sn_client import SnClient
from tests.unit.compose.result.test_judge import peer, view


@dataclass
class Sns:
    """As much of the SNs as is asked for."""

    view: ContractView
    alive: bool = False
    resets: list[str] = field(default_factory=list)

    async def state(self, _contract: str) -> ContractState:
        return ContractState(cursor="1", view=self.view)

    async def nodes(self) -> list[NodeInfo]:
        return [
            NodeInfo(
                uid=uid_of(1), kind=NodeKind.SL, endpoint="sl-1:30305", container="sl-1",
                version="", parent="", fingerprint="a" * 64, alive=self.alive, last_seen=0,
            )
        ]  # fmt: skip

    async def reset(self, contract: str, _reason: str) -> None:
        self.resets.append(contract)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "pair-1").mkdir()
    (tmp_path / "pair-1" / "ml.json").touch()
    return Folder(tmp_path)


async def begin(sns: Sns, folder: Folder) -> bool:
    """Whether the old results are gone."""
    await module.begin(cast("SnClient", sns), DEFAULT_CONTRACT, folder)
    return not (folder.path / "pair-1" / "ml.json").exists()


async def test_the_first_time_there_is_nothing_to_reset(folder: Folder):
    sns = Sns(view(Phase.UNINITIALIZED))
    assert await begin(sns, folder)
    assert sns.resets == []


async def test_a_training_that_is_over_is_reset(folder: Folder):
    sns = Sns(view(Phase.COMPLETED))
    assert await begin(sns, folder)
    assert sns.resets == [DEFAULT_CONTRACT]


async def test_one_whose_sls_are_gone_is_reset(folder: Folder):
    """They ended without a word: the contract still counts them."""
    sns = Sns(view(Phase.CHECKIN).model_copy(update={"peers": [peer(1)]}))
    assert await begin(sns, folder)
    assert sns.resets == [DEFAULT_CONTRACT]


async def test_one_that_is_under_way_goes_on(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    sns = Sns(view(Phase.CHECKIN).model_copy(update={"peers": [peer(1)]}), alive=True)
    assert not await begin(sns, folder)
    assert sns.resets == []
