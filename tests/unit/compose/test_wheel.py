"""The client's wheel as `compose.wheel` makes it: pip takes it, and it holds the whole client."""

import subprocess
import sys
import zipfile

from compose import wheel
from compose.plan import REPOSITORY


def test_pip_installs_it(tmp_path):
    made = wheel.make_wheel(tmp_path / "out")
    assert made.name == "swarmlearning-0.1.0-py3-none-any.whl"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--disable-pip-version-check", "--target", str(tmp_path / "site"), str(made),
        ],
        check=True,
    )  # fmt: skip
    installed = tmp_path / "site" / "swarmlearning"
    ours = sorted(p.relative_to(REPOSITORY) for p in (REPOSITORY / "swarmlearning").rglob("*.py"))
    there = {path.relative_to(tmp_path / "site") for path in installed.rglob("*.py")}
    assert there == set(ours)
    said = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
         "import swarmlearning.pyt as m; print(m.__file__)", str(tmp_path / "site")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == str(installed / "pyt.py")


def test_equal_sources_give_equal_wheels(tmp_path):
    first, second = wheel.make_wheel(tmp_path / "a"), wheel.make_wheel(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert len(names) == len(set(names))
    assert not any(name.startswith(("services", "compose")) for name in names)


def test_it_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert wheel.main([str(tmp_path / "file" / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert wheel.main([]) == 2
