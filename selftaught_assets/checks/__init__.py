"""Data-quality checks of the tables, with Great Expectations.

A suite (rules.py) is a list of rules about one asset; suites/ and accounts.py declare them. results.py applies them,
with built-in expectations and those in expectations.py, and reports the results. Dagster's asset checks are made of
them in assets/checks.py. project.py writes what Great Expectations can run without this package.
"""
