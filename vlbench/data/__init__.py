"""Data: readers of the official formats, feature stores, batches, and the mini edition."""
