"""The operators of the integer graph: the ONNX domain `qcompile`, in words and as names.

T8 is uint8 or int8. A shape is logical ONNX order (NCHW); layout is the lowering's affair.
`acc` is exact int32. The last step of every arithmetic operator is the same:

    y_dtype T8:     y = clamp(rint(t) + y_zero_point, lo, hi)      rint: ties to even
    y_dtype float:  y = clamp(t, lo, hi)                           no step, no rounding

with the attributes `y_dtype` (ONNX type number), `y_zero_point` (int), `lo`, `hi` (float
attributes, in y's own units, -inf and inf allowed for float) and t in float32:

    t = float32(acc) * multiplier
    t = fma(float32(acc), multiplier, float32(r - r_zero_point) * r_multiplier)   residual
    t = fma(float32(acc), multiplier, r)                                    float residual

operator      inputs, its own attributes, and what it computes
------------- ------------------------------------------------------------------------------
QConv         x T8[N,C,H,W], w int8[O,C/group,kh,kw], bias int32[O], multiplier f32[O],
              r T8[N,O,OH,OW]?, r_multiplier f32[]?
              strides, pads, dilations, group, x_zero_point, r_zero_point
              acc = bias[o] + sum (x - x_zero_point) * w; a padded x counts as x_zero_point
QMatMul       x T8[...,K], w int8[K,N], bias int32[N], multiplier f32[N],
              r T8[...,N]?, r_multiplier f32[]?        or r f32[...,N]?, without the others
              x_zero_point, r_zero_point
              acc = bias[n] + sum (x - x_zero_point) * w
QAdd          a T8, b T8 (numpy broadcasting), a_multiplier f32[], b_multiplier f32[]
              a_zero_point, b_zero_point
              the residual form of t with acc = a - a_zero_point, r = b
QAveragePool  x T8[N,C,H,W], multiplier f32[OH,OW] or f32[1,1]
              kernel_shape, strides, pads, dilations, x_zero_point
              acc = sum (x - x_zero_point) over the window
              (a padded x adds 0; the counts are in the multiplier)
QSoftmax      x T8, table int32[256], multiplier f32[]
              axis
              e = table[max(x) - x], S = sum(e) in int32 over axis,
              t = (float32(e) * multiplier) / float32(S)
QLut          x T8, table T8[256]; no attributes, not even the four
              y = table[x - lowest value of x's type]
              x T8, table T8[C,256]; axis
              y = table[c, x - lowest value of x's type], c the index along the axis
QMul          a T8, b T8 (numpy broadcasting), multiplier f32[]
              a_zero_point, b_zero_point
              acc = (a - a_zero_point) * (b - b_zero_point)
QBatchMatMul  a T8[...,M,K], b T8[...,K,N] (numpy broadcasting of the leading axes),
              multiplier f32[]
              a_zero_point, b_zero_point
              acc = sum (a - a_zero_point) * (b - b_zero_point)
QReduceSum    x T8, multiplier f32[] (a mean has its count there)
              axes, keepdims, x_zero_point
              acc = sum (x - x_zero_point) over the axes
QResize       x T8[N,C,H,W], row_index int32[OH,2], row_weight int32[OH,2],
              column_index int32[OW,2], column_weight int32[OW,2], multiplier f32[]
              x_zero_point
              acc = sum over i, j of row_weight[oh,i] * column_weight[ow,j]
                    * (x[n,c,row_index[oh,i],column_index[ow,j]] - x_zero_point)
              (weights are multiples of 2**-11, so the multiplier holds 2**-22)

Where a range is known only at run time, scales and zero points are inputs, and the answer
is float:

operator              inputs, and what it computes
--------------------- ----------------------------------------------------------------------
QDynamicMatMul        x T8[...,K], x_scale f32[], x_zero_point T8[], w int8[K,N],
                      w_scale f32[N], bias f32[N]; lo, hi
                      acc = sum (x - x_zero_point) * w
                      y = clamp(fma(float32(acc), x_scale * w_scale[n], bias[n]), lo, hi)
QDynamicBatchMatMul   a T8[...,M,K], a_scale f32[], a_zero_point T8[],
                      b T8[...,K,N], b_scale f32[], b_zero_point T8[]
                      acc = sum (a - a_zero_point) * (b - b_zero_point)
                      y = float32(acc) * (a_scale * b_scale)

Multipliers are `float32(s_x * s_w / s_y)`, computed in float64 and rounded once; for a float
y they are `float32(s_x * s_w)`. Operators that only move or choose integers stay standard
ONNX, on tensors of one scale (`regions.MOVE_OPS`). At the borders stand QuantizeLinear and
DequantizeLinear with a per-tensor scale, or DynamicQuantizeLinear; inside a float island
stands standard float ONNX.
"""

from __future__ import annotations

DOMAIN = "qcompile"
VERSION = 1

QCONV = "QConv"
QMATMUL = "QMatMul"
QADD = "QAdd"
QAVERAGEPOOL = "QAveragePool"
QSOFTMAX = "QSoftmax"
QLUT = "QLut"
QMUL = "QMul"
QBATCHMATMUL = "QBatchMatMul"
QREDUCESUM = "QReduceSum"
QRESIZE = "QResize"
QDYNAMICMATMUL = "QDynamicMatMul"
QDYNAMICBATCHMATMUL = "QDynamicBatchMatMul"

SCALE = "qcompile.scale"
"""metadata_props key of a value: its scale, as repr(float)."""

ZERO_POINT = "qcompile.zero_point"
"""metadata_props key of a value: its zero point."""

FLOAT_REASON = "qcompile.float_reason"
"""metadata_props key of a node: why it stays float."""
