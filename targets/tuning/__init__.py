"""Tuning: which tile sizes a kernel can have, which measure best, and where that is kept."""
