"""The instruction sets of an aarch64 CPU, as the kernel tells every process.

Not from /proc/cpuinfo: under a user-mode emulator that file is the host's.
"""

from __future__ import annotations

import ctypes

AT_HWCAP, AT_HWCAP2 = 16, 26
"""Entries of the auxiliary vector, <linux/auxvec.h>."""

HWCAP = """
    fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma
    lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca
    pacg
"""
HWCAP2 = """
    dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm
    svef64mm svebf16 i8mm bf16 dgh rng bti mte
"""
"""Names of the bits from bit 0 on, as /proc/cpuinfo spells them (Linux, asm/hwcap.h)."""


def aarch64_features() -> frozenset[str]:
    """Return the flags of the CPU that this process runs on."""
    auxiliary = ctypes.CDLL(None).getauxval
    auxiliary.argtypes, auxiliary.restype = [ctypes.c_ulong], ctypes.c_ulong
    return named_bits(HWCAP, auxiliary(AT_HWCAP)) | named_bits(HWCAP2, auxiliary(AT_HWCAP2))


def named_bits(names: str, word: int) -> frozenset[str]:
    """Return the names of the bits that are set."""
    return frozenset(name for bit, name in enumerate(names.split()) if word >> bit & 1)
