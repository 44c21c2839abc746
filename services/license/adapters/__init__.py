"""Disk and clock of the license server."""
