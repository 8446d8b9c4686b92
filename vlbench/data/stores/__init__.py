"""Feature stores: ours, and the layouts that others publish features in; read only."""
