"""What a SWOP touches: containers or processes, volumes, downloads."""
