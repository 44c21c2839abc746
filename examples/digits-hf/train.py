"""One organisation's program: a Vision Transformer and Hugging Face's Trainer, with SwarmCallback.

Trains twice with the same arguments: first alone, to see how far its own two digits take it, then
as a part of the swarm. `--node 0` has all the data in one place and trains alone only. The model
is made from a configuration, so nothing is downloaded.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
import transformers

from swarmlearning.hf_transformers import SwarmCallback

sys.path.insert(0, str(Path(__file__).parents[1] / "digits"))

import data  # the same organisations as in examples/digits

EPOCHS = int(os.environ.get("MAX_EPOCHS", "15"))
MIN_PEERS = int(os.environ.get("MIN_PEERS", "4"))
BATCH = 16
LEARNING_RATE = 0.005
SYNC_EVERY = 3  # optimizer steps
FOLDER = Path(os.environ.get("MODEL_DIR", "."))


def new_model():
    """A transformer over the four patches of 4 x 4 pixels that an image has."""
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=8, patch_size=4, num_channels=1, num_labels=10,
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def as_dataset(images, labels):
    return [
        {"pixel_values": image, "labels": int(label)}
        for image, label in zip(images.reshape(-1, 1, 8, 8), labels, strict=True)
    ]


def hits(logits, labels):
    return (logits.argmax(1) == labels).double().mean()


class Curve(transformers.TrainerCallback):
    """Accuracy on the test set after each epoch or merge, as [epochs, accuracy] pairs."""

    def __init__(self, model, test, in_swarm):
        self.model, self.in_swarm, self.points = model, in_swarm, []
        self.images = torch.stack([torch.from_numpy(sample["pixel_values"]) for sample in test])
        self.labels = torch.tensor([sample["labels"] for sample in test])
        self.add(0)

    def add(self, epoch):
        with torch.no_grad():
            self.points.append([epoch, hits(self.model(self.images).logits, self.labels).item()])

    def on_step_end(self, args, state, control, **kwargs):
        step = state.global_step
        if self.in_swarm and step > 1 and step % SYNC_EVERY == 1:  # merged just now: 4, 7, 10...
            self.add(state.epoch)

    def on_epoch_end(self, args, state, control, **kwargs):
        if not self.in_swarm:
            self.add(state.epoch)


def train(model, own, test, seed, swarm=()):
    """Train with what `Trainer` does by itself; the callback is all that Swarm Learning adds."""
    curve = Curve(model, test, in_swarm=bool(swarm))
    arguments = transformers.TrainingArguments(
        str(FOLDER / "trainer"), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE, seed=seed,
        use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=own,
        data_collator=transformers.default_data_collator,
        callbacks=[*swarm, curve],
    )
    trainer.train()
    if swarm:
        curve.add(EPOCHS)  # the final model
    return curve.points


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, required=True, help="1 to 5; 0: all the data")
    node = parser.parse_args().node
    torch.set_num_threads(1)
    own, test = (as_dataset(*part) for part in data.load(node))

    curves = {"alone": train(new_model(), own, test, seed=node)}
    if node:
        model = new_model()
        swarm = SwarmCallback(
            syncFrequency=SYNC_EVERY,
            minPeers=MIN_PEERS,
            model=model,
            totalEpochs=EPOCHS,
            adsValData=test,
            adsValBatchSize=len(test),
            metricFunction=hits,
        )
        curves["swarm"] = train(model, own, test, seed=node, swarm=[swarm])
        torch.save(model.state_dict(), FOLDER / "model.pt")

    holds = "digits {} {}".format(*data.classes_of(node)) if node else "all the data"
    result = {"holds": holds, "curves": curves}
    result |= {way: {"accuracy": curve[-1][1]} for way, curve in curves.items()}
    (FOLDER / "result.json").write_text(json.dumps(result))
    print({way: curve[-1][1] for way, curve in curves.items()})


if __name__ == "__main__":
    main()
