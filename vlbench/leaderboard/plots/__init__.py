"""Pictures of a leaderboard: what a method costs against what it scores, and how it trained.

What is drawn is settled without matplotlib, in `points`, `frontier`, `logs` and `labels`; `pareto`,
`curves` and the files they use draw it.
"""
