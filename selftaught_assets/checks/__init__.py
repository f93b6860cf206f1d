"""Data-quality checks of the tables (Great Expectations), as Dagster asset checks.

A suite (rules.py) is a list of rules about one asset; suites/ and accounts.py declare them, validation.py applies them,
results.py says what was found, build.py makes asset checks of them.
"""

from selftaught_assets.checks.build import build_checks

__all__ = ["build_checks"]
