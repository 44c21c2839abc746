"""The container images: what they are, and building them."""
