"""Under which name LIST NODES shows a node."""

import socket

import pytest

from services.common.container import container_name


@pytest.mark.parametrize(
    ("given", "file", "expected"),
    [
        ("sl-1", b"0123456789abcdef\nimage\n", "sl-1"),
        ("", b"0123456789abcdef\nimage\n", "0123456789ab"),
        ("", b"\nimage\n", None), ("", b"", None), ("", b"\xff", None), ("", None, None),
        ("x" * 200, None, "x" * 160),
    ],
    ids=str,
)  # fmt: skip
def test_container_name(tmp_path, given, file, expected):
    path = tmp_path / "container_info_file"
    if file is not None:
        path.write_bytes(file)
    assert container_name(given, path) == (expected or socket.gethostname())
