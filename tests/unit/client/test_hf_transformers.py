"""``swarmlearning.hf_transformers``, in loopback: arguments, what is exchanged, evaluation."""

import logging
import sys

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PromptEncoderConfig, get_peft_model, inject_adapter_in_model
from torch.utils.data import DataLoader

from swarmlearning.hf_transformers import SwarmCallback, SwarmError
from swarmlearning.wire.tensors import read, view, write_header

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft
log = logging.getLogger("test.hf")


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "true")


def bert(seed=0):
    torch.manual_seed(seed)
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=16, num_labels=3,
        )
    )  # fmt: skip


def with_lora(name="default", seed=0):
    config = LoraConfig(
        r=2, target_modules=["query"], modules_to_save=["classifier"], task_type="SEQ_CLS"
    )
    model = get_peft_model(bert(seed), config, adapter_name=name)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:  # zero at first
            torch.nn.init.normal_(parameter)
    return model


def adapter(model, **kwargs):
    return SwarmCallback(1, 1, model=model, logger=log, **kwargs)._session._model


def arrays_of(adapted):
    layout = adapted.layout()
    buffer = bytearray(layout.file_size)
    write_header(buffer, layout)
    adapted.save({t.name: view(buffer, layout, t) for t in layout.tensors})
    return read(buffer)


# --- arguments


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "data parallel"])
def test_a_trainer_of_another_model_is_refused(wrapped, caplog):
    model = bert()
    callback = SwarmCallback(1, 1, model=model, logger=log)
    callback.on_train_begin(None, None, None)
    callback.on_train_begin(
        None, None, None, model=torch.nn.DataParallel(model) if wrapped else model
    )
    with pytest.raises(SwarmError, match="trains another model than this callback's"):
        callback.on_train_begin(None, None, None, model=bert())
    assert "the trainer trains another model" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({}, "Hugging Face model is None"),
        ({"model": 3}, "model must be a torch.nn.Module, not int"),
        ({"model": True, "ml_platform": "PYTORCH"}, "Invalid ML platform type: PYTORCH"),
        ({"model": torch.nn.Linear(1, 1), "hfMode": "lora"},
         "Invalid Hugging Face model type: lora"),
        ({"model": torch.nn.Linear(1, 1), "hfMode": "peft"}, "needs a model with an adapter"),
        ({"model": torch.nn.Linear(1, 1), "adsValData": 7}, "adsValData type passed is <class 'i"),
        ({"model": torch.nn.Linear(1, 1), "adsValData": [{}], "adsValBatchSize": "x"},
         "adsValBatchSize must be a positive integer, not 'x'"),
        ({"model": torch.nn.Linear(1, 1), "adsValData": [{}], "adsValBatchSize": 0},
         "adsValBatchSize must be a positive integer, not 0"),
    ],
)  # fmt: skip
def test_constructor_errors_are_logged_and_raised(kwargs, error, caplog):
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(syncFrequency=1, minPeers=1, logger=log, **kwargs)
    assert error in str(caught.value)
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [str(caught.value)]


def test_hpes_arguments_are_accepted_without_a_warning(caplog):
    adapter(
        bert(), ml_platform="HF_TRANSFORMER", hfMode="full", lossFunction="CrossEntropyLoss",
        lossFunctionArgs={}, metricFunction="Accuracy", metricFunctionArgs={},
    )  # fmt: skip
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


# --- what is exchanged


def test_full_is_the_state_dict_of_the_model():
    model, other = bert(1), bert(2)
    arrays = arrays_of(adapter(other))
    assert arrays.keys() == other.state_dict().keys()
    adapter(model).load(arrays)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


def test_tied_embeddings_of_a_language_model_stay_tied():
    config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=1)
    model, other = transformers.GPT2LMHeadModel(config), transformers.GPT2LMHeadModel(config)
    adapter(model).load(arrays_of(adapter(other)))
    assert model.lm_head.weight is model.transformer.wte.weight
    assert torch.equal(model.lm_head.weight, other.transformer.wte.weight)


def test_peft_exchanges_the_adapter_alone_whatever_its_name_is():
    model, other = with_lora("mine", seed=1), with_lora("theirs", seed=2)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    arrays = arrays_of(adapter(other, hfMode="peft"))
    assert arrays.keys() == {
        "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight",
        "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight",
        "base_model.model.classifier.weight",
        "base_model.model.classifier.bias",
    }
    adapter(model, hfMode="peft").load(arrays)
    for key, tensor in model.state_dict().items():
        if ".mine" in key:
            assert torch.equal(tensor, other.state_dict()[key.replace(".mine", ".theirs")]), key
            assert key.endswith("bias") or not torch.equal(tensor, before[key])
        else:
            assert torch.equal(tensor, before[key]), key


def test_the_names_are_those_of_an_adapter_checkpoint(tmp_path):
    model = with_lora()
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    saved = read((tmp_path / "adapter_model.safetensors").read_bytes())
    arrays = arrays_of(adapter(model, hfMode="peft"))
    assert arrays.keys() == saved.keys()
    assert all(np.array_equal(arrays[key], saved[key]) for key in saved)


def test_an_adapter_that_transformers_added_is_found(monkeypatch):
    model = inject_adapter_in_model(LoraConfig(r=2, target_modules=["query"]), bert(), "own")
    # transformers' own add_adapter wants a newer peft than the one that is pinned
    monkeypatch.setattr(type(model), "active_adapters", lambda _: ["own"])
    names = arrays_of(adapter(model, hfMode="peft")).keys()
    assert len(names) == 2
    assert all(".lora_" in name and ".own" not in name for name in names)


def test_a_merged_adapter_that_is_another_is_refused():
    model = with_lora()
    arrays = dict(arrays_of(adapter(model, hfMode="peft")))
    arrays.pop("base_model.model.classifier.bias")
    with pytest.raises(SwarmError, match=r"missing \['base_model.model.classifier.bias'\]"):
        adapter(model, hfMode="peft").load(arrays)


def test_an_adapter_that_is_computed_when_saved_is_refused_at_once():
    model = get_peft_model(
        bert(),
        PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=2, encoder_hidden_size=4),
    )
    with pytest.raises(SwarmError, match="is computed when it is saved, so a merged one could not"):
        adapter(model, hfMode="peft")


def test_several_active_adapters_are_refused():
    config = LoraConfig(r=2, target_modules=["query"])
    model = get_peft_model(bert(), config, adapter_name="one")
    model.add_adapter("two", config)
    model.base_model.set_adapter(["one", "two"])
    with pytest.raises(SwarmError, match=r"exactly one active adapter; active are: \['one', 'two"):
        adapter(model, hfMode="peft")


def test_only_mode_peft_needs_the_package(monkeypatch):
    model = with_lora()
    monkeypatch.setitem(sys.modules, "peft", None)
    assert adapter(model).layout().tensors
    with pytest.raises(SwarmError, match=r"needs the package peft: add `pip install peft`"):
        adapter(model, hfMode="peft")


# --- evaluation


def samples(count=5):
    return [{"input_ids": [1 + i, 2, 3], "label": i % 3} for i in range(count)]


def expected_loss(model, data):
    model.eval()
    batch = transformers.default_data_collator(data)
    with torch.no_grad():
        found = float(model(**batch).loss)
    model.train()
    return found


def test_the_loss_is_the_models_own_over_a_data_set():
    model = bert().train()
    loss, metric = adapter(model, adsValData=samples(), adsValBatchSize=2).evaluate()
    assert loss == pytest.approx(expected_loss(model, samples()), rel=1e-5)
    assert metric == 0.0
    assert model.training


def test_a_data_loader_keeps_its_own_batches_and_tuples_are_understood():
    model = bert()
    model.config.return_dict = False
    data = DataLoader(samples(), batch_size=3, collate_fn=transformers.default_data_collator)
    loss, _ = adapter(model, adsValData=data).evaluate()
    model.config.return_dict = True
    assert loss == pytest.approx(expected_loss(model, samples()), rel=1e-5)


def share(logits, labels):
    return (logits.argmax(1) == labels).float().mean()


def test_a_metric_may_be_a_function_or_a_class_of_torchmetrics():
    model = bert()
    kwargs = {"adsValData": samples(), "adsValBatchSize": 2}
    by_function = adapter(model, metricFunction=share, **kwargs)
    by_class = adapter(
        model,
        metricFunction="Accuracy",
        metricFunctionArgs={"task": "multiclass", "num_classes": 3},
        **kwargs,
    )
    batch = transformers.default_data_collator(samples())
    with torch.no_grad():
        expected = float(share(model.eval()(**batch).logits, batch["labels"]))
    for _ in range(2):
        assert by_function.evaluate()[1] == pytest.approx(expected)
    assert by_class.evaluate()[1] == pytest.approx(expected)


def test_no_data_means_no_loss():
    assert adapter(bert()).evaluate() == (0.0, 0.0)


@pytest.mark.parametrize("named", [True, False])
def test_data_without_labels_is_an_error(named):
    model = bert()
    model.config.return_dict = named
    data = [{"input_ids": [1, 2]}] * 2
    with pytest.raises(SwarmError, match="its batches must hold the labels"):
        adapter(model, adsValData=data).evaluate()


def test_batches_that_are_no_dicts_are_an_error():
    data = DataLoader(torch.zeros(4, 2))
    with pytest.raises(SwarmError, match="must give batches that are dicts"):
        adapter(bert(), adsValData=data).evaluate()
