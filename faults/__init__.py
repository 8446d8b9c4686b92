"""The fault test: runs that are killed, starved and lied to end as undisturbed ones do."""
