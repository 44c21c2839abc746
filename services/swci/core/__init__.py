"""The command language; pure."""
