"""What operators take on x86: rows that `python benchmarks/region_times.py TARGET` measured.

On a Xeon of Emerald Rapids at 3.1 GHz, one thread; dots and fmas are what whole kernels reach.
"""

from __future__ import annotations

import dataclasses

from qcompile.speeds import Speeds

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Their rows are what storing the answer takes, beside the products."""

AVX512 = Speeds(
    source="python benchmarks/region_times.py x86-vnni",
    dots=300,
    fmas=85,
    launch=60,
    quantize=0.12,
    dequantize=0.10,
    operators={
        "Add": (0.13, 0.11),
        "AveragePool": (0.15, 0.24),
        "Concat": (0.037, 0.12),
        **dict.fromkeys(PRODUCTS, (0.02, 0.03)),
        "GlobalAveragePool": (0.014, 0.035),
        "HardSwish": (0.028, 1.5),
        "MaxPool": (0.071, 0.68),
        "Mul": (0.16, 0.13),
        "ReduceMean": (0.056, 0.043),
        "ReduceSum": (0.056, 0.043),
        "Relu": (0.028, 0.10),
        "Resize": (0.21, 0.63),
        "Sigmoid": (0.028, 0.31),
        "Softmax": (1.0, 0.27),
        "other": (0.04, 0.30),
    },
)

AVX2 = Speeds(
    source="python benchmarks/region_times.py x86-avx2",
    dots=60,
    fmas=42,
    launch=60,
    quantize=0.19,
    dequantize=0.12,
    operators={
        "Add": (0.14, 0.13),
        "AveragePool": (0.25, 0.26),
        "Concat": (0.027, 0.12),
        **dict.fromkeys(PRODUCTS, (0.02, 0.03)),
        "GlobalAveragePool": (0.022, 0.036),
        "HardSwish": (0.24, 0.66),
        "MaxPool": (0.12, 1.4),
        "Mul": (0.14, 0.14),
        "ReduceMean": (0.053, 0.059),
        "ReduceSum": (0.053, 0.059),
        "Relu": (0.24, 0.11),
        "Resize": (0.31, 4.4),
        "Sigmoid": (0.24, 0.49),
        "Softmax": (0.93, 0.45),
        "other": (0.1, 0.45),
    },
)

AVXVNNI = dataclasses.replace(AVX2, dots=150)
"""The instructions of AVX2 but for the dot, which does 32 products at once."""
