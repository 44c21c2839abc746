"""The checks before a run that need cryptography: identity, and who answers where."""
