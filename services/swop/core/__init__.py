"""What a SWOP decides; pure."""
