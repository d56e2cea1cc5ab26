"""Targets, one device family a file, found by name."""

from __future__ import annotations
