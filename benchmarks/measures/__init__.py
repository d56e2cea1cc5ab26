"""What int8 costs, one measure a file; each takes both models as functions."""
