"""Reviewing rows by hand: what a person is shown, what they answer, and how often that agrees with the labels.

The server is started in commands/review.py.
"""
