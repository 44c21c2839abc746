"""The trainers of Hugging Face and Lightning, with our callbacks, against a real Bridge."""

import asyncio
import logging

import lightning
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader, TensorDataset

import swarmlearning.hf_transformers
import swarmlearning.lightning
from services.common.errors import MlError
from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from tests.component.sl.scripted_sl import prepared

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # peft
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # lightning
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
]
log = logging.getLogger("test.trainers")


@pytest.fixture
async def sl(tmp_path, monkeypatch):
    async with prepared(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


async def played(sl, program, change=None, interval=2):
    """Let ``program`` train on a thread, and play the SL to its end."""
    ml = asyncio.create_task(asyncio.to_thread(program))
    terms = await sl.open()
    closed = await sl.play(change, interval)
    await ml
    return terms, closed


# --- Hugging Face


def bert(adapter=False):
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=16, num_labels=3,
        )
    )  # fmt: skip
    config = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    return get_peft_model(model, config) if adapter else model


SAMPLES = [{"input_ids": [1 + i, 2, 3], "label": i % 3} for i in range(16)]


def hugging_face(tmp_path, model, callbacks, **arguments):
    given = {"per_device_train_batch_size": 2, "num_train_epochs": 2, **arguments}
    return transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            str(tmp_path / "out"), report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True, logging_strategy="no", **given,
        ),
        train_dataset=SAMPLES,
        data_collator=transformers.default_data_collator,
        callbacks=callbacks,
    )  # fmt: skip


async def test_a_hugging_face_trainer_syncs_per_optimizer_step(sl, tmp_path, caplog):
    caplog.set_level("INFO")
    model = bert()

    def train():
        swarm = swarmlearning.hf_transformers.SwarmCallback(
            2, 1, model=model, logger=log, totalEpochs=2, adsValData=SAMPLES, nodeWeightage=7
        )
        trainer = hugging_face(tmp_path, model, [swarm], gradient_accumulation_steps=2)
        trainer.train()
        return trainer.state.global_step

    def halved(arrays):
        arrays["classifier.bias"][:] = [1, 2, 3]

    terms, closed = await played(sl, train, halved)
    assert terms == m.SessionRequest(2, 1, False, "snapshot", 7, "defaultbb.cqdb.sml.hpe", "mean")
    assert closed.weightage == 7
    # 2 epochs of 8 micro batches are 8 steps: at train begin, after steps 3, 5 and 7, at the end
    assert len(sl.losses) == 1 + 3 + 1
    assert all(answer.loss > 0 for answer in sl.losses)
    assert [answer.epochs for answer in sl.losses] == [0, 0, 1, 1, 2]
    assert model.classifier.bias.tolist() == [1, 2, 3]
    assert "Final Swarm model was loaded" in caplog.messages[-1]


async def test_a_peft_model_exchanges_its_adapter_only(sl, tmp_path):
    model = bert(adapter=True)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    seen = set()

    def change(arrays):
        seen.update(arrays)
        for array in arrays.values():
            array[:] = 0.5

    def train():
        swarm = swarmlearning.hf_transformers.SwarmCallback(
            2, 1, model=model, logger=log, hfMode="peft"
        )
        hugging_face(tmp_path, model, [swarm], num_train_epochs=1).train()

    await played(sl, train, change)
    assert {name.split(".")[-2] for name in seen} == {"lora_A", "lora_B", "classifier"}
    for key, tensor in model.state_dict().items():
        if ".default" in key:
            assert torch.all(tensor == 0.5), key
        else:
            assert torch.equal(tensor, before[key]), key


async def over_at_begin(sl, program):
    """The swarm's training is over at the first sync; gives what the program returned."""
    ml = asyncio.create_task(asyncio.to_thread(program))
    await sl.open()
    request = await sl.take(m.SyncRequest)
    await sl.load(request)
    await sl.answer(request, over=True)
    assert isinstance(await sl.receive(m.KillSession), m.KillSession)
    return await ml


async def test_a_hugging_face_trainer_stops_when_the_swarm_is_done(sl, tmp_path, caplog):
    caplog.set_level("INFO")
    model = bert()

    def train():
        swarm = swarmlearning.hf_transformers.SwarmCallback(2, 1, model=model, logger=log)
        trainer = hugging_face(tmp_path, model, [swarm])
        trainer.train()
        return trainer.state.global_step

    assert await over_at_begin(sl, train) == 1
    assert "Swarm training is over. Stopping local training" in caplog.messages


# --- Lightning


class Module(lightning.LightningModule):
    def __init__(self, fails=False):
        super().__init__()
        self.backbone, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
        self.fails = fails

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch, index):
        if self.fails and index == 1:
            raise ZeroDivisionError("user's own mistake")
        x, y = batch
        return (self(x) - y).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def data():
    return DataLoader(TensorDataset(torch.ones(16, 4), torch.zeros(16, 1)), batch_size=2)


def fitted(module, swarm, **arguments):
    trainer = lightning.Trainer(
        callbacks=[swarm], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, barebones=False,
        **{"max_epochs": 2, **arguments},
    )  # fmt: skip
    trainer.fit(module, data())
    return trainer.global_step


def lightning_swarm(**kwargs):
    return swarmlearning.lightning.SwarmCallback(2, 1, logger=log, **kwargs)


async def test_a_lightning_trainer_syncs_per_optimizer_step(sl):
    module = Module()

    def change(arrays):
        arrays["head.bias"][:] = 5

    def train():
        swarm = lightning_swarm(adsValData=data(), lossFunction="MSELoss", totalEpochs=2)
        return fitted(module, swarm, accumulate_grad_batches=2)

    await played(sl, train, change)
    assert len(sl.losses) == 1 + 3 + 1
    assert [answer.epochs for answer in sl.losses] == [0, 0, 1, 1, 2]
    assert all(answer.loss > 0 for answer in sl.losses)
    assert module.head.bias.item() == 5


async def test_a_part_of_a_lightning_module_may_be_exchanged(sl):
    module, seen = Module(), set()
    await played(sl, lambda: fitted(module, lightning_swarm(model=module.head)), seen.update)
    assert seen == {"weight", "bias"}


async def test_a_lightning_trainer_stops_when_the_swarm_is_done(sl):
    assert await over_at_begin(sl, lambda: fitted(Module(), lightning_swarm())) <= 1


async def test_a_lightning_trainer_without_an_epoch_to_train_takes_leave_of_the_sl(sl, caplog):
    """As after a restart from the last checkpoint; and the callback may be the program's own."""
    swarm = lightning_swarm(adsValData=data())
    ml = asyncio.create_task(asyncio.to_thread(fitted, Module(), swarm, max_epochs=0))
    await sl.open()
    with pytest.raises(MlError, match="ended or was killed"):
        await sl.receive(m.SyncRequest)
    await ml
    assert "adsValData without lossFunction: the loss is reported as 0" in caplog.messages


async def test_a_lightning_program_that_fails_takes_leave_of_the_sl(sl):
    ml = asyncio.create_task(asyncio.to_thread(fitted, Module(fails=True), lightning_swarm()))
    await sl.open()
    request = await sl.take(m.SyncRequest)
    await sl.load(request)
    await sl.answer(request)
    with pytest.raises(MlError, match="ended or was killed"):
        await sl.receive(m.SyncRequest)
    with pytest.raises(ZeroDivisionError):
        await ml


def test_wrong_arguments_are_said_before_fit(monkeypatch):
    with pytest.raises(SwarmError, match="minPeers have to be a positive integer"):
        swarmlearning.lightning.SwarmCallback(1, 0, logger=log)
    monkeypatch.setenv("SWARM_LOOPBACK", "true")
    swarm = lightning_swarm(ml_platform="KERAS")
    with pytest.raises(SwarmError, match="Invalid ml platform type: KERAS"):
        fitted(Module(), swarm)
