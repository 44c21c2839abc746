"""The client of wheels 2.1 and 2.2: weights are inside the messages."""

import numpy as np

from tests.foreign.client import Client


class Client22(Client):
    api = "2.2"

    def check_files(self):
        pass

    def write_weights(self, request, arrays):
        for name, array in arrays.items():
            entry = request.inputParams.weights[name]
            entry.dtype = repr(array.dtype)
            entry.shape.extend(array.shape)
            entry.data = array.tobytes()

    def read_weights(self, request):
        return {
            name: np.frombuffer(entry.data, self.evaluated(entry.dtype)).reshape(entry.shape)
            for name, entry in request.mergedParams.weights.items()
        }

    def evaluated(self, text):
        """As HPE's client does, with the little that it needs within reach."""
        return eval("np." + text, {"__builtins__": {}, "np": np})
