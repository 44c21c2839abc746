"""The read model as text: a fold that goes on from it ends where one from the beginning does."""

from contextlib import contextmanager
from dataclasses import asdict
from unittest.mock import patch

import pytest
from hypothesis import given, settings

from services.sn.core import rounds, training
from services.sn.core.ledger import Block
from services.sn.core.read_model import ReadModel, load, save
from tests.unit.sn.histories import NAMES, RUNNERS, histories


def fold(model, history, start):
    for number, (address, event) in enumerate(history, start):
        block = Block(number // 2, f"{number // 2:064x}", 1000 + number)
        model.apply(event, address, block)
        model.head = block
    return model


def plain(model):
    """All that the model consists of, comparable also where a loss is not a number."""
    fields = asdict(model)
    fields["directory"]["writers"] = sorted(fields["directory"]["writers"])
    for each in fields["trainings"].values():
        each["events"] = [event.model_dump(mode="json") for event in each["events"]]
    del fields["by_address"], fields["runner_at"]
    return repr(fields)


@contextmanager
def little_memory():
    with (
        patch.object(rounds, "KEPT_ROUNDS", 2), patch.object(rounds, "STRIDE", 2),
        patch.object(training, "KEPT_EVENTS", 5),
    ):  # fmt: skip
        yield


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_fold_goes_on_from_what_was_saved_after_any_prefix(history):
    with little_memory():
        whole = plain(fold(ReadModel(), history, 0))
        growing = ReadModel()
        for k in range(1, len(history) + 1):
            fold(growing, history[k - 1 : k], k - 1)
            resumed = load(save(growing))
            assert plain(resumed) == plain(growing)
            assert plain(fold(resumed, history[k:], k)) == whole


@given(histories())
def test_a_loaded_contract_is_one_object_under_name_and_address(history):
    loaded = load(save(fold(ReadModel(), history, 0)))
    for name in NAMES:
        assert loaded.trainings[name] is loaded.by_address[f"0x{name}"]
    for name in RUNNERS:
        assert loaded.runners[name] is loaded.runner_at[f"0x{name}"]


def test_text_that_is_no_read_model():
    for text in (b"", b"{}", b"[1]", b'{"head": null}', b"\xff"):
        with pytest.raises(ValueError, match="not a read model"):
            load(text)
