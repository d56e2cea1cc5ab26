"""The config: what it accepts, what it refuses and in which words, which override wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from qcompile.config import CompileConfig, Override
from qcompile.errors import ConfigError

EXAMPLE = """
calibrator = "percentile"
float_ops = ["Softmax"]
[ops.Conv]
per_channel = false
[nodes."*/head/*"]
float = true
"""


def node(op_type: str, name: str = "") -> ir.Node:
    return ir.node(op_type, [], name=name)


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(EXAMPLE)
    assert CompileConfig.from_toml(path) == CompileConfig(
        calibrator="percentile",
        float_ops=("Softmax",),
        ops={"Conv": Override(per_channel=False)},
        nodes={"*/head/*": Override(float=True)},
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "key": (
        {"calibrater": "mse"},
        "unknown key 'calibrater'\n  hint: did you mean 'calibrator'?",
    ),
    "key of an override": (
        {"ops": {"Conv": {"perchannel": True}}},
        "ops.Conv: unknown key 'perchannel'\n  hint: did you mean 'per_channel'?",
    ),
    "key like nothing": (
        {"zzz": 1},
        "unknown key 'zzz'\n  hint: there are calibrator, float_ops, nodes, ops, recipe",
    ),
    "recipe": (
        {"recipe": "static-int9"},
        "unknown recipe 'static-int9'\n  hint: did you mean 'static-int8'?",
    ),
    "calibrator": (
        {"calibrator": "minmax"},
        "unknown calibrator 'minmax'\n  hint: did you mean 'min-max'?",
    ),
    "calibrator of a node": (
        {"nodes": {"*/a": {"calibrator": "precentile"}}},
        "nodes.\"*/a\": unknown calibrator 'precentile'\n  hint: did you mean 'percentile'?",
    ),
    "activation": (
        {"ops": {"Add": {"activation": "u16"}}},
        "ops.Add: unknown activation 'u16'\n  hint: there are s8, u8",
    ),
    "operator": (
        {"float_ops": ["Sofmax"]},
        "unknown operator 'Sofmax'\n  hint: did you mean 'Softmax'?",
    ),
    "operator like nothing": (
        {"float_ops": ["0"]},
        "unknown operator '0'\n  hint: there are Abs, Acos, Acosh, Add, AffineGrid, And, ",
    ),
    "operator of a table": (
        {"ops": {"conv": {"float": True}}},
        "unknown operator 'conv'\n  hint: did you mean 'Conv'?",
    ),
    "type": (
        {"ops": {"Conv": {"float": "yes"}}},
        "ops.Conv: float must be true or false, got 'yes'",
    ),
    "number as name": (
        {"calibrator": 8},
        "unknown calibrator 8\n  hint: there are absmax, kl, min-max, moving-average, mse,",
    ),
    "one operator, not a list": (
        {"float_ops": "Softmax"},
        "float_ops must be a list of operators, got 'Softmax'",
    ),
    "no table": ({"ops": ["Conv"]}, "ops must be a table of tables, got ['Conv']"),
    "no table inside": ({"ops": {"Conv": True}}, "ops.Conv: must be a table, got True"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CompileConfig.from_dict(data)
    assert str(caught.value).startswith(message)


def test_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: cannot read it: No such file"):
        CompileConfig.from_toml(tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"calibrator = ", "c.toml: not TOML: "),
        (b"\xff\xfe", "c.toml: not TOML: "),
        (b"[ops.Conv]\nfloats = true", "c.toml: ops.Conv: unknown key 'floats'"),
        (b"recipes = 'auto'", "c.toml: unknown key 'recipes'"),
    ],
)
def test_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        CompileConfig.from_toml(path)
    assert message in str(caught.value).splitlines()[0]


def test_nodes_win_over_ops_and_later_patterns_over_earlier() -> None:
    config = CompileConfig(
        ops={"Conv": Override(calibrator="kl", symmetric=True)},
        nodes={"a*": Override(calibrator="mse"), "*b": Override(calibrator="absmax")},
    )
    assert config.override(node("Conv", "x")) == Override(calibrator="kl", symmetric=True)
    assert config.override(node("Conv", "a")) == Override(calibrator="mse", symmetric=True)
    assert config.override(node("Conv", "ab")) == Override(calibrator="absmax", symmetric=True)
    assert config.override(node("Add", "c")) == Override()


def test_a_name_with_brackets_is_its_own_pattern() -> None:
    config = CompileConfig(nodes={"layer[0]/Conv": Override(float=True)})
    assert config.reason(node("Conv", "layer[0]/Conv")) is not None
    assert config.reason(node("Conv", "layer0/Conv")) is not None
    assert config.reason(node("Conv", "layer1/Conv")) is None


REASONS = {
    "nothing said": (CompileConfig(), None),
    "float_ops": (
        CompileConfig(float_ops=("Conv",)),
        "the config keeps Conv in float",
    ),
    "operator": (
        CompileConfig(ops={"Conv": Override(float=True)}),
        "the config keeps Conv in float",
    ),
    "node": (
        CompileConfig(nodes={"a*": Override(float=True)}),
        "the config keeps nodes 'a*' in float",
    ),
    "the node is an exception": (
        CompileConfig(float_ops=("Conv",), nodes={"ab": Override(float=False)}),
        None,
    ),
    "an exception of an exception": (
        CompileConfig(ops={"Conv": Override(float=False)}, nodes={"*b": Override(float=True)}),
        "the config keeps nodes '*b' in float",
    ),
    "another node": (CompileConfig(nodes={"b*": Override(float=True)}), None),
}


@pytest.mark.parametrize(("config", "reason"), REASONS.values(), ids=REASONS)
def test_reason(config: CompileConfig, reason: str | None) -> None:
    assert config.reason(node("Conv", "ab")) == reason
