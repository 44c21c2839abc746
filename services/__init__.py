"""The swarm's processes. Each subpackage is one of them; they meet only over the network."""
