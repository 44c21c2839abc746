"""The checks of ``python -m tests.matrix``, in this environment."""

import pytest

from tests.matrix.checks import CHECKS, check_that_no_framework_is_imported


@pytest.mark.parametrize(
    "check",
    [check for check in CHECKS if check is not check_that_no_framework_is_imported],  # ours has all
    ids=lambda check: check.__name__,
)
def test_here(check):
    check()
