"""The mini edition: a generated world of coloured shapes, written in the official file formats."""
