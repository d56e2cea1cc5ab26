"""Reading and rewriting QDQ graphs."""
