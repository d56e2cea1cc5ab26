"""QuantizeLinear and DequantizeLinear of onnxruntime's own domain."""

from __future__ import annotations

from qcompile.importer.expansion import Expansion


def to_standard(expansion: Expansion) -> None:
    """Put the node into the standard domain, where it means the same.

    Its inputs and attributes are those of the standard operator.
    """
    expansion.node.domain = ""
