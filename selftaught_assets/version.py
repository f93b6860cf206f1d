"""The version of the package, which tables, checkpoints and exported judges record."""

__version__ = "0.1.0"
