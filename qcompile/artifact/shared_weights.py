"""Store a weight once where two graphs of an artifact hold it: one points into the other.

ONNX's own external data does it: the tensor of the second file names the first file, an offset
and a length. So both files, unzipped into one folder, are what any ONNX tool reads.
"""

from __future__ import annotations

import onnx

LEAST_BYTES = 1024
"""Smaller tensors are not worth a reference."""


def without_shared(model: onnx.ModelProto, first: bytes, location: str) -> bytes:
    """Return the file of a model whose weights that `first` holds too are references.

    Args:
        model: The model; it is changed.
        first: The file that holds the weights, as it will be stored.
        location: Its name beside the file that is returned.
    """
    offsets = weight_offsets(first)
    for tensor in model.graph.initializer:
        data = tensor.raw_data
        if data not in offsets:
            continue
        facts = {
            "location": location,
            "offset": str(offsets[data]),
            "length": str(len(data)),
        }
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in facts.items():
            tensor.external_data.add(key=key, value=value)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def weight_offsets(file: bytes) -> dict[bytes, int]:
    """Return where each weight that is worth a reference lies in an ONNX file.

    Initializers lie in a file in their order, so each is looked for behind the last one.
    """
    offsets: dict[bytes, int] = {}
    end = 0
    for tensor in onnx.load_model_from_string(file).graph.initializer:
        if len(tensor.raw_data) >= LEAST_BYTES:
            start = file.index(tensor.raw_data, end)
            offsets.setdefault(tensor.raw_data, start)
            end = start + len(tensor.raw_data)
    return offsets


def with_shared(file: bytes, first: bytes) -> onnx.ModelProto:
    """Return the model of a file that `without_shared` made, whole again."""
    model = onnx.load_model_from_string(file)
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        offset, length = int(facts["offset"]), int(facts["length"])
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = first[offset : offset + length]
    return model
