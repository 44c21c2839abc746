"""The ``swarm`` command: our nodes on a host that has Docker (or podman) and Python 3.8.

MUST import nothing but the standard library and itself, in the words of Python 3.8: hosts get it as
one file (``python -m compose.operate.pack``). What needs more runs in the tools image.

``options``, ``docker_options``, ``parse``, ``usage``, ``plan``, ``nodes``, ``identity``,
``script``, ``explain`` and ``find`` decide and touch nothing; ``engine``, ``host``, ``launch``,
``ready``, ``stop``, ``listing`` and ``gen_cert`` act.
"""
