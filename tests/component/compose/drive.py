"""`python -m compose.local ...` with fake services."""

import sys
from pathlib import Path

from compose import local, session
from compose.plan import Kind

FAKE = str(Path(__file__).with_name("fake_service.py"))

if __name__ == "__main__":
    session.SERVICES = {kind: (sys.executable, FAKE, kind.value) for kind in Kind}
    sys.exit(local.main())
