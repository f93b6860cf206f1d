"""Benchmarks of the platform's own parts: `python -m benchmarks [NAME …]`. docs/performance.md explains each.

They are no tests of speed: the test suite runs them small, for correctness only.
"""
