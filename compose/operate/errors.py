"""What can go wrong, as texts for users.

OperateError            Docker refused or failed; exit code 1
  UsageError            the command line, or a file that it names, is wrong; exit code 2
    UnknownOptionError  an option that no table has
"""

from __future__ import annotations


class OperateError(Exception):
    """Something failed; the text says what, and what to do."""

    exit_code = 1


class UsageError(OperateError):
    """The command line, or a file that it names, is wrong."""

    exit_code = 2


class UnknownOptionError(UsageError):
    """An option that no table has; this Docker may know it."""
