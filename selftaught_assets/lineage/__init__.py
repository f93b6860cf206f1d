"""Where a row comes from and what was made from it, read from the data folder alone: no Dagster, no torch.

Tables are scanned lazily, by ids, and only the columns that are shown are read.
"""

from selftaught_assets.lineage.schema import Made, Model, Node, Trace
from selftaught_assets.lineage.trace import trace

__all__ = ["Made", "Model", "Node", "Trace", "trace"]
