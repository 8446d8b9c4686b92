"""Does vlbench lose or spoil a run, whatever happens to it? `python -m faults`."""
