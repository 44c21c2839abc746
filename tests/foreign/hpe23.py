"""The client of wheel 2.3: weights are pickles in a fixed folder."""

# ruff: noqa: T201 - plain prints, as HPE's client makes them

import pickle
from pathlib import Path

from tests.foreign.client import Client, now

FOLDER = Path("/tmp/hpe-swarm")


class Client23(Client):
    api = "2.3"

    def __init__(self, *arguments, folder=FOLDER, **named):
        self.folder = folder
        super().__init__(*arguments, **named)

    def check_files(self):
        for name in ("trained_weights.pkl", "merged_weights.pkl"):
            path = self.folder / name
            print(f"{now()} {path}: waiting for weight files to be created")
            self.sleep(1)
            if not path.is_file():
                raise RuntimeError(f"{path}: cannot create file")

    def write_weights(self, request, arrays):
        request.fileName = "trained_weights.pkl"
        with (self.folder / request.fileName).open("wb", 4 * 2**20) as file:
            pickle.dump(arrays, file, pickle.HIGHEST_PROTOCOL)

    def read_weights(self, request):
        with (self.folder / request.fileName).open("rb", 4 * 2**20) as file:
            return pickle.load(file)
