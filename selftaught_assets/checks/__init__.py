"""Data-quality checks of the tables (Great Expectations).

A suite (rules.py) is a list of rules about one asset; suites/ and accounts.py declare them, validation.py applies them,
results.py says what was found. Dagster's asset checks are made of them in assets/checks.py.
"""
