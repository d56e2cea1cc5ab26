"""Kernel templates in TIR, one a file; the sizes are fields, the steps stand once."""
