"""What runs on a user's host with Docker and Python alone: the standard library, Python >= 3.8."""
