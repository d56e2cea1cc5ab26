"""Say what would stay float on a target, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity
from qcompile.doctor.graph import BORDERS, nodes
from qcompile.report import count_macs
from qcompile.target import Target


def check_target(graph: ir.Graph, target: Target) -> Iterator[Finding]:
    """Find the operators that no kernel of the target takes, one finding a reason.

    Args:
        graph: An imported model: its shapes are fixed.
        target: Whose rows are asked.
    """
    computing = [node for node in nodes(graph) if node.op_type not in BORDERS]
    total = sum(count_macs(node) for node in computing)
    reasons: dict[tuple[str, str], list[ir.Node]] = {}
    for node in computing:
        reason = target.why_float(node)
        if reason is not None:
            reasons.setdefault((node.op_type, reason), []).append(node)
    for (op_type, reason), found in reasons.items():
        macs = sum(count_macs(node) for node in found)
        share = f", {macs / total:.1%} of all" if macs else ""
        names = ", ".join(str(node.name) for node in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield Finding(
            Severity.INFO,
            "stays-float",
            f"{len(found)} x {op_type} ({names}{more})",
            f"{reason}: {macs} multiply-accumulates in float{share}",
            f"they run in float on {target.name}",
        )
