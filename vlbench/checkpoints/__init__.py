"""Checkpoints of the authors' code: what their tensors are called, and how they are read."""
