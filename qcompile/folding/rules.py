"""Which rule folds which role: how a region of the QDQ graph becomes a node of integers."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qcompile.folding.batch_matmul import fold_batch_matmul
from qcompile.folding.elementwise import fold_mul, fold_sum, fold_table
from qcompile.folding.folding import Folding
from qcompile.folding.pool import fold_pool
from qcompile.folding.reduce import fold_reduce
from qcompile.folding.resize import fold_resize
from qcompile.folding.softmax import fold_softmax
from qcompile.folding.weighted import fold_weighted
from qcompile.regions import Role

Rule = Callable[[Folding], ir.Node]
"""Builds the node, not yet in the graph.

Raises:
    UnfoldableError: The region must stay float; nothing has been built.
    CompileError: The model is at fault.
"""

RULES: dict[Role, Rule] = {
    Role.WEIGHTED: fold_weighted,
    Role.PRODUCT: fold_batch_matmul,
    Role.SUM: fold_sum,
    Role.MULTIPLY: fold_mul,
    Role.REDUCE: fold_reduce,
    Role.INTERPOLATE: fold_resize,
    Role.POOL: fold_pool,
    Role.SOFTMAX: fold_softmax,
    Role.TABLE: fold_table,
}
"""What the anchor computes -> its rule; a move has none, it stays the operator that it is."""
