"""Training: loss, optimiser, batch order, loop, checkpoint, generation."""
