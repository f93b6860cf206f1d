"""The report: one HTML page that shows a recipe's results, its data, and every sampled judgment.

Belongs here: reading a recipe's tables for the page, the figures, charts and rows on it, and the page itself. Not here:
what Dagster's event log says (assets/report.py) and the asset (assets/report.py). No module here imports Dagster.
"""
