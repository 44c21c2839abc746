"""Writes images into one file, for machines that have neither internet nor a registry."""

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

from compose.images.engine import has, run_docker
from services.common.errors import ConfigError, RemoteError


def save(images: list[str], file: Path) -> None:
    """Write images into a file for ``docker load``; compressed where its name ends in ``.gz``.

    Args:
        images: full names.
        file: is replaced only by a complete one.

    Raises:
        ConfigError: an image is missing, or the file cannot be written.
        RemoteError: the engine broke off.
    """
    missing = [image for image in images if not has(image)]
    if missing:
        raise ConfigError(
            f"no image {missing[0]} here: build it first, with python -m compose.images"
        )
    part = file.with_name(file.name + ".part")
    try:
        if file.suffix == ".gz":
            with gzip.open(part, "wb", compresslevel=6) as packed:
                _stream(images, packed)
        else:
            with part.open("wb") as plain:
                _stream(images, plain)
        part.replace(file)
    except OSError as exc:
        raise ConfigError(f"cannot write {file}: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def load(file: Path) -> list[str]:
    """Give the engine the images of a file that `save` wrote.

    Returns:
        What the engine says of each of them.

    Raises:
        ConfigError: there is no such file.
        RemoteError: the engine does not take it.
    """
    if not file.is_file():
        raise ConfigError(f"no file {file}")
    done = run_docker("load", "--input", str(file))
    if done.returncode:
        raise RemoteError(f"the engine does not take {file}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def _stream(images: list[str], out: BinaryIO | gzip.GzipFile) -> None:
    words = ["docker", "save", *images]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        assert saving.stderr is not None
        shutil.copyfileobj(saving.stdout, out, 1 << 20)
        said = saving.stderr.read().decode(errors="replace").strip()
    if saving.returncode:
        raise RemoteError(f"the engine broke off: {said}")
