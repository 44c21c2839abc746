"""The client wheel on several Pythons, numpys and protobufs: ``python -m tests.matrix``."""
