"""What one would write first, as the baseline of the data plane's benchmarks.

A model goes to the other process as a pickle in a file, between nodes through HTTPS with a
framework's file answer (64 KiB at a time through a thread) and ``requests``, and is merged with
``np.mean`` over a stack.
"""

import asyncio
import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import requests
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from services.common.tls import Identity

Model = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
PIECE = 64 * 1024


def save(model: Model, path: Path) -> None:
    """Hand a model over."""
    with path.open("wb") as file:
        pickle.dump(model, file, protocol=5)


def load(path: Path) -> Model:
    """Take a model that :func:`save` left."""
    with path.open("rb") as file:
        model: Model = pickle.load(file)
        return model


def merge(models: Sequence[Model]) -> Model:
    """The mean of all models."""
    return {
        name: np.mean(np.stack([model[name] for model in models]), axis=0) for name in models[0]
    }


def serve(folder: Path, identity: Identity, ready: Connection) -> None:
    """Serve ``folder`` over mutual TLS; sends its port."""
    app = FastAPI()

    @app.get("/{name}")
    async def get(name: str) -> FileResponse:
        return FileResponse(folder / name)

    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", access_log=False,
        ssl_certfile=identity.cert, ssl_keyfile=str(identity.key),
        ssl_ca_certs=str(identity.trusted[0]), ssl_cert_reqs=2,
    )  # fmt: skip

    async def run() -> None:
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        ready.send(server.servers[0].sockets[0].getsockname()[1])
        await task

    asyncio.run(run())


def fetch(session: requests.Session, port: int, name: str, target: Path) -> None:
    """Download a file."""
    url = f"https://localhost:{port}/{name}"
    with session.get(url, stream=True, timeout=60) as answer, target.open("wb") as file:
        answer.raise_for_status()
        for piece in answer.iter_content(PIECE):
            file.write(piece)


def client(identity: Identity) -> requests.Session:
    """A client that keeps its connections. The certificates name roles, not hosts."""
    session = requests.Session()
    session.trust_env = False
    session.cert = (str(identity.cert), str(identity.key))
    session.verify = False
    return session
