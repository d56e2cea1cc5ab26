"""The C bundle: a model as object code and a few C files, for devices without a runtime."""
