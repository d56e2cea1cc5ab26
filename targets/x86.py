"""x86: the targets with and without VNNI."""

from __future__ import annotations

from qcompile.quant import U8
from qcompile.target import Target
from qcompile.targets.cpu_ops import cpu_ops
from qcompile.targets.lowering import TvmLowering, isa
from qcompile.targets.speeds import AVX2, AVX512, AVXVNNI

AVX2_FLAGS = ("avx2", "fma", "f16c", "bmi1", "bmi2", "movbe")
"""What x86-64-v3 has; the code generator may use all of it."""

AVX512_FLAGS = (*AVX2_FLAGS, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
"""What x86-64-v4 has."""

X86_VNNI = Target(
    name="x86-vnni",
    about="x86-64 with AVX-512 VNNI (Cascade Lake, Zen 4 and later servers)",
    arch="x86_64",
    features=(*AVX512_FLAGS, "avx512_vnni"),
    ops=cpu_ops(U8),
    lowering=TvmLowering(isa("x86_isa", "VNNI512")),
    speeds=AVX512,
)

X86_AVXVNNI = Target(
    name="x86-avxvnni",
    about="x86-64 with 256-bit AVX-VNNI (Alder Lake and later)",
    arch="x86_64",
    features=(*AVX2_FLAGS, "avx_vnni"),
    ops=cpu_ops(U8),
    lowering=TvmLowering(isa("x86_isa", "AVXVNNI")),
    speeds=AVXVNNI,
)

X86_AVX2 = Target(
    name="x86-avx2",
    about="x86-64 with AVX2, no VNNI (Haswell, Zen and later)",
    arch="x86_64",
    features=AVX2_FLAGS,
    ops=cpu_ops(U8),
    lowering=TvmLowering(isa("x86_isa", "AVX2")),
    speeds=AVX2,
)
