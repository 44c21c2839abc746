"""What two or more services share, each module named by a noun. Imports nothing else of ours."""
