"""What is wrong with a quantized model, and the repairs that are safe."""
