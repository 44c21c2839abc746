"""SWOP: runs tasks of a taskrunner on this host."""
