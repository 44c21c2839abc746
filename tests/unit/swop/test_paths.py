"""Paths of a container in commands, variables and scripts."""

import pytest

from services.swop.core.paths import Places

PLACES = Places({"/tmp/test/": "/host/private", "/tmp/test/model": "/host/shared", "/w": "/h/w"})


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("/tmp/test", "/host/private"),
        ("/tmp/test/", "/host/private/"),
        ("/tmp/test/data/a.csv", "/host/private/data/a.csv"),
        ("/tmp/test/model/x.py", "/host/shared/x.py"),
        ("/tmp/test/models", "/host/private/models"),
        ("/tmp/tests", "/tmp/tests"),
        ("/tmp/test.csv", "/tmp/test.csv"),
        ("/other/tmp/test", "/other/tmp/test"),
        ("model/x.py", "model/x.py"),
        ("./w/x", "./w/x"),
        ("~/w/x", "~/w/x"),
        ("http://host/w/x", "http://host/w/x"),
        ("--data=/tmp/test/a", "--data=/host/private/a"),
        ("/w:/usr/lib:/tmp/test/model", "/h/w:/usr/lib:/host/shared"),
        ("cat '/w/a b'; ls /tmp/test/model>/w/o", "cat '/h/w/a b'; ls /host/shared>/h/w/o"),
        ("", ""),
    ],
)
def test_text(text, translated):
    assert PLACES.text(text) == translated


def test_the_inner_folder_wins():
    assert PLACES.path("/tmp/test/model/../model/x") == "/host/shared/x"
    assert PLACES.path("/tmp") is None


def test_nothing_mounted():
    assert Places({}).text("/w") == "/w"
