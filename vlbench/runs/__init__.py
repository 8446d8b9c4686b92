"""From a plan to results: run specs, run folders, the worker that does one run, the launcher."""
