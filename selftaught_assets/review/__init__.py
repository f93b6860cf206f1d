"""Reviewing rows by hand: what a person is shown, what they answered, how far that agrees with the labels.

Belongs here: choosing rows of the stored tables, keeping the answers, the page. Not here: what agreement means
(`review/answers.py`) and starting the server (commands/review.py).
"""
