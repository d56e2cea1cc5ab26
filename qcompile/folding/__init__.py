"""One rule an operator: from a region of the QDQ graph to a node of integers."""
