"""Fixtures of the contract tests: an in-process EVM, no network and no files."""

from collections.abc import Callable

import pytest

from tests.solidity.evm import Evm, RevertedError
from tests.solidity.training import Training


@pytest.fixture
def evm() -> Evm:
    return Evm()


@pytest.fixture
def training(evm: Evm) -> Training:
    """An empty training contract for two peers or more."""
    return Training(evm)


@pytest.fixture
def refuses() -> Callable[..., str]:
    """Calls what must be refused with this code; returns the detail."""

    def check(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> str:
        with pytest.raises(RevertedError) as caught:
            call(*args, **kwargs)
        assert caught.value.code == code, caught.value
        return caught.value.detail

    return check


@pytest.fixture
def three(training):
    """Three peers, quorum of two."""
    training.enrol(1, 2, 3)
    return training


@pytest.fixture
def quorum(three):
    """All three checked in; a leader is elected."""
    three.check_in(1, 2, 3)
    return three


@pytest.fixture
def merging(quorum):
    """All three checked in; the leader has frozen the round."""
    quorum.freeze()
    return quorum
