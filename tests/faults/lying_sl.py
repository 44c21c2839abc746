"""An SL like any other, but that it lies when it leads round 3: it publishes a poisoned merge.

The poisoned file is a good model file under its right digest, served to whoever asks for it. Which
SL it is, the election decides; who leads a later term of that round is honest.
"""

from dataclasses import replace

import numpy as np

from services.common import logs, process
from services.sl import participation
from services.sl.__main__ import main
from services.sl.adapters.executor import Executor
from services.sl.adapters.merging import MergedFile
from services.sl.core import events as ev
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import parse, read, write_into

LIE = (3, 1)
"""Round and term."""
POISON = 100.0


class LyingExecutor(Executor):
    """Poisons one merge that it makes as a leader."""

    async def _do_merge(self, command: ev.Merge) -> None:
        merge = self._merged

        async def poisoned(command: ev.Merge) -> MergedFile:
            return self._poisoned(await merge(command))

        if (command.round, command.term) == LIE:
            self._merged = poisoned
        await super()._do_merge(command)
        self._merged = merge

    def _poisoned(self, model: MergedFile) -> MergedFile:
        content = bytearray(self.store.path(model.digest).read_bytes())
        arrays = {name: np.array(array) for name, array in read(content).items()}
        arrays["weight"] += np.float32(POISON)
        write_into(content, arrays, parse(content))
        digest = digest_of(content)
        with self.store.writer(len(content)) as draft:
            draft.write(content)
            draft.commit(digest)
        return replace(model, digest=digest)


if __name__ == "__main__":
    participation.Executor = LyingExecutor
    logs.configure()
    process.run("SL", main)
