"""`vlbench data get`: fetch what is openly published to where the readers look for it."""
