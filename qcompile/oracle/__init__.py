"""The one meaning of the integer graph, executed in NumPy."""

from qcompile.oracle.execute import captured, check, run, run_node

__all__ = ["captured", "check", "run", "run_node"]
