"""SWCI: the operators' command shell, on a terminal, from a script, or over REST."""
