"""Seeded mutations: of bytes, and of single fields of an ONNX file."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

INTEGERS = (0, 1, -1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    "",
    "x",
    "y",
    "Conv",
    "Relu",
    "Loop",
    "If",
    "axes",
    "kernel_shape",
    "ä\n",
    "../x",
    "a" * 999,
)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with a few flipped, cut out, repeated or cut off."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not result:
            break
        at = rng.randrange(len(result))
        size = rng.choice((1, 1, 2, 8, 64))
        match rng.randrange(5):
            case 0:
                result[at] ^= 1 << rng.randrange(8)
            case 1:
                result[at : at + size] = rng.randbytes(size)
            case 2:
                del result[at : at + size]
            case 3:
                result[at:at] = result[at : at + size]
            case _:
                del result[at:]
    return bytes(result)


def mutate_model(data: bytes, rng: random.Random) -> bytes:
    """Return an ONNX file in which a few fields have another value."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.randint(1, 3)):
        message = rng.choice(list(messages(model)))
        fields = message.DESCRIPTOR.fields
        present = [field for field, _ in message.ListFields()]
        mutate_field(
            message, rng.choice(present if present and rng.random() < 0.9 else fields), rng
        )
    return bytes(model.SerializeToString())


def messages(message: Message) -> Iterator[Message]:
    """Yield a message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated else (value,):
            yield from messages(each)


def mutate_field(message: Message, field: Any, rng: random.Random) -> None:
    """Clear a field, or give it, or one of its elements, another value."""
    if field.is_repeated:
        mutate_list(getattr(message, field.name), field, rng)
    elif field.message_type is not None or rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, other(field, getattr(message, field.name), rng))


def mutate_list(items: Any, field: Any, rng: random.Random) -> None:
    """Remove, repeat, exchange or change an element."""
    if not items:
        if field.message_type is None:
            items.append(other(field, None, rng))
        else:
            items.add()
        return
    at = rng.randrange(len(items))
    action = rng.randrange(4)
    if action == 0:
        del items[at]
    elif action == 1:
        items.append(items[at])
    elif action == 2:
        copies = [copy.deepcopy(item) for item in items]
        rng.shuffle(copies)
        del items[:]
        items.extend(copies)
    elif field.message_type is None:
        items[at] = other(field, items[at], rng)
    else:
        items[at].Clear()


def other(field: Any, value: Any, rng: random.Random) -> Any:
    """Return a value of the field's type that is rarely the one it has."""
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return mutate_bytes(value or b"nearest", rng)
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 0.5))
    if field.type == field.TYPE_ENUM:
        return rng.choice([each.number for each in field.enum_type.values])
    bits = 31 if field.type == field.TYPE_INT32 else 63
    number = rng.choice((*INTEGERS, rng.randrange(30)))
    if field.type in (field.TYPE_UINT64, field.TYPE_UINT32):
        return abs(number) % 2**bits
    return max(-(2**bits), min(2**bits - 1, number))
