"""ARM: the 64-bit targets with and without dot products."""

from __future__ import annotations

from qcompile.quant import S8_AFFINE
from qcompile.target import Target
from qcompile.targets.cpu_ops import cpu_ops
from qcompile.targets.lowering import TvmLowering, isa

ARM_I8MM = Target(
    name="arm-i8mm",
    about="64-bit ARM with int8 matrix products (Neoverse V1 and N2, Cortex-A510 and later)",
    arch="aarch64",
    features=("asimd", "asimddp", "i8mm"),
    ops=cpu_ops(S8_AFFINE),
    lowering=TvmLowering(isa("arm_isa", "I8MM")),
)

ARM_DOTPROD = Target(
    name="arm-dotprod",
    about="64-bit ARM with int8 dot products (Neoverse N1, Cortex-A76, Cortex-A55 and later)",
    arch="aarch64",
    features=("asimd", "asimddp"),
    ops=cpu_ops(S8_AFFINE),
    lowering=TvmLowering(isa("arm_isa", "DOTPROD")),
)

ARM_NEON = Target(
    name="arm-neon",
    about="64-bit ARM, without dot products (Cortex-A53, Cortex-A72)",
    arch="aarch64",
    features=("asimd",),
    ops=cpu_ops(S8_AFFINE),
    lowering=TvmLowering(isa("arm_isa", "NEON")),
)
