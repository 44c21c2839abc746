"""Starting a swarm on one's own machines: certificates, process sets. Imports no service."""
