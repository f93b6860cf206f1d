"""The report: one HTML page that shows a recipe's results, its data, and every sampled judgment.

No module here imports Dagster: assets/report.py reads the event log and holds the asset.
"""
