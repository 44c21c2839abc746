"""What an SL does: pipes, files, sockets, and the SN's API."""
