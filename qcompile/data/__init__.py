"""Samples and arrays that a user hands in."""
