"""SN: a node of the chain that holds all coordination metadata, and the state API in front of it.

It owns the chain on its disk (links to other SNs on port 30303), the contracts' addresses, a read
model folded from the contracts' events, and the API (30304) through which SL, SWCI and SWOP nodes
read and write. It never holds a model.
"""

VERSION = "0.1.0"
"""What this SN announces as its version."""
