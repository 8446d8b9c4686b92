"""Beside the package: parity with the authors, pretraining, learning rates, the leaderboard."""
