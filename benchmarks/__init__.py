"""Benchmarks of the platform's own parts. Each module is a command: `python -m benchmarks.<name>`."""
