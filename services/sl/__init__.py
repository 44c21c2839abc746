"""One organisation's place in the swarm: an SL node.

Owns the FIFO bridge to its ML program, the content-addressed store of model files, the file server
(30305, mutual TLS) and the state machine of sync rounds. Reads of a round in this order:
``daemon`` pumps events into ``core.round``, which answers with commands that ``adapters`` execute.
"""
