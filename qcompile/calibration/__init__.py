"""What the observed values were, and the range that each calibrator makes of it."""
