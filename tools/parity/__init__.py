"""Parity: our models against recorded inputs, outputs and gradients of the authors' models."""
