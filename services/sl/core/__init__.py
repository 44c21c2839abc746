"""What an SL decides. Values in, values out: no IO, no clock, no threads."""
