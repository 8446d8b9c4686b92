"""The leaderboard as a folder of web pages that need no server, no network and no JavaScript."""

from vlbench.leaderboard.site.write import write_site

__all__ = ["write_site"]
