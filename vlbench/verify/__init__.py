"""Every stored number recomputed, and runs packed for others, who can do the same."""
