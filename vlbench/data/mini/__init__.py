"""The mini edition: a generated world of coloured shapes, written in the official file formats."""

VERSION = 1
"""Goes into every data fingerprint: raise it when the same seed would give other files."""
