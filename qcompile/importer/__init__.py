"""From an ONNX file to an onnx_ir model of one opset with static shapes."""
