"""The services ``prepare``, ``begin``, ``ml-N`` and ``result`` of ``compose.yaml``."""
