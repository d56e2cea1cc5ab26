"""What the CPU kernel templates run in integers: the rows that every CPU target shares."""

from __future__ import annotations

from qcompile.limits import (
    AttributeIs,
    ConstantIfGiven,
    ConstantInput,
    InputRank,
    KnownResize,
    MatMulRanks,
    ModestConstants,
    OneNumber,
    OneOutput,
)
from qcompile.quant import S8, S8_PER_CHANNEL, QuantSpec
from qcompile.target import OpSupport
from qcompile.unary import UNARY_OPS

WEIGHT = (S8_PER_CHANNEL, S8)
IMAGE = InputRank((4,))
MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")


def cpu_ops(activation: QuantSpec) -> tuple[OpSupport, ...]:
    """Return the rows for CPUs whose dot product takes activations of this kind."""
    either = (activation,)
    return (
        OpSupport(
            op_type="Conv",
            activation=either,
            weight=WEIGHT,
            limits=(IMAGE, ConstantInput(1)),
        ),
        OpSupport(
            op_type="Gemm",
            activation=either,
            weight=WEIGHT,
            limits=(
                ConstantInput(1),
                AttributeIs("transA", 0),
                AttributeIs("alpha", 1.0),
                AttributeIs("beta", 1.0),
            ),
        ),
        OpSupport(
            op_type="MatMul",
            activation=either,
            weight=WEIGHT,
            limits=(MatMulRanks(),),
        ),
        *(OpSupport(op_type=op, activation=either) for op in ("Add", "Sub", "Mul")),
        *(
            OpSupport(op_type=op, activation=either, limits=(OneNumber(),))
            for op in ("Div", "Pow", "Min", "Max")
        ),
        OpSupport(op_type="PRelu", activation=either, limits=(ConstantInput(1),)),
        *(
            OpSupport(op_type=op, activation=either, limits=(ConstantIfGiven(1),))
            for op in ("ReduceMean", "ReduceSum")
        ),
        OpSupport(op_type="AveragePool", activation=either, limits=(IMAGE,)),
        OpSupport(op_type="GlobalAveragePool", activation=either, limits=(IMAGE,)),
        OpSupport(op_type="Softmax", activation=either),
        OpSupport(
            op_type="MaxPool",
            activation=either,
            shared_scale=True,
            limits=(IMAGE, OneOutput()),
        ),
        OpSupport(op_type="Concat", activation=either, shared_scale=True),
        *(
            OpSupport(
                op_type=op,
                activation=either,
                shared_scale=True,
                limits=(ConstantIfGiven(1),),
            )
            for op in ("ReduceMax", "ReduceMin")
        ),
        OpSupport(
            op_type="Where",
            activation=either,
            shared_scale=True,
            limits=(ModestConstants((1, 2)),),
        ),
        OpSupport(
            op_type="Pad",
            activation=either,
            shared_scale=True,
            limits=(ConstantInput(1), ConstantIfGiven(2), ConstantIfGiven(3)),
        ),
        OpSupport(
            op_type="Resize", activation=either, shared_scale=True, limits=(KnownResize(),)
        ),
        *(
            OpSupport(
                op_type=op, activation=either, shared_scale=True, limits=(ConstantInput(1),)
            )
            for op in ("Expand", "Tile")
        ),
        OpSupport(op_type="Gather", activation=either, shared_scale=True),
        *(OpSupport(op_type=op, activation=either, shared_scale=True) for op in MOVES),
        *(OpSupport(op_type=op, activation=either) for op in sorted(UNARY_OPS)),
    )
