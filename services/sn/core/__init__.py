"""Decisions of an SN as pure code: folds of the chain's events, and who is lost."""
