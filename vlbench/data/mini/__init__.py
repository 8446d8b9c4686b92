"""The mini edition: a generated world of coloured shapes, written in the official file formats."""

VERSION = 1
"""Of the pictures: raise it when the same seed would give other files."""
VIDEO_VERSION = 1
"""The same, of the clips."""
