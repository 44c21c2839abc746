"""``python -m compose.operate.pack OUT``: the ``swarm`` command as one file.

It runs wherever there is Python 3.8 or newer: ``python3 swarm.pyz run-sn ...``, or, as it is
executable, ``./swarm.pyz run-sn ...``. The same sources make the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEN = 1_577_836_800
"""Time of each file in it: the beginning of 2020."""
START = "import sys\nfrom compose.operate.main import main\nsys.exit(main())\n"


def pack(out: Path) -> None:
    """Write the archive.

    Args:
        out: its file; replaced only by a complete one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "swarm")
        target = root / "compose" / "operate"
        target.mkdir(parents=True)
        (root / "__main__.py").write_text(START)
        shutil.copy(HERE.parent / "__init__.py", root / "compose")
        for source in sorted(HERE.glob("*.py")):
            if source.name != Path(__file__).name:
                shutil.copy(source, target)
        for path in (*root.rglob("*"), root):
            os.utime(path, (WHEN, WHEN))
            path.chmod(0o755 if path.is_dir() else 0o644)
        part = out.with_name(out.name + ".part")
        zipapp.create_archive(root, part, interpreter="/usr/bin/env python3", compressed=True)
        part.replace(out)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m compose.operate.pack", description=__doc__)
    parser.add_argument("out", type=Path, help="file to write, e.g. swarm.pyz")
    out = parser.parse_args(argv).out
    try:
        pack(out)
    except OSError as error:
        print(f"Error: cannot write {out}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{out}: {out.stat().st_size // 1024} KiB; run it with python3 {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
