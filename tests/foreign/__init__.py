"""Clients as HPE's wheels 2.2 and 2.3 are described in compat/01; none of our code is in them.

They run on any Python from 3.8 with numpy and protobuf, so that old versions can be tried, too:
``python -m tests.foreign.train --api 2.3 ...``.
"""
