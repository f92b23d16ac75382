"""Records: what has the fields becomes the dataclass, anything else is refused by name."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from fgembed.disk.json_records import record


@dataclass(frozen=True)
class Part:
    name: str
    weight: float


@dataclass(frozen=True)
class Settings:
    count: int
    kind: Literal["flat", "ivf"]
    parts: list[Part]
    sizes: dict[str, int]
    mean: tuple[float, float]
    shape: list[int] | None
    extra: Any


VALUE: dict[str, Any] = {
    "count": 2,
    "kind": "flat",
    "parts": [{"name": "a", "weight": 1}],
    "sizes": {"x": 3},
    "mean": [0.5, 1],
    "shape": None,
    "extra": ["anything"],
}


def test_a_sound_object_becomes_the_dataclass() -> None:
    actual = record(Settings, VALUE | {"shape": [3]})
    expected = Settings(
        count=2,
        kind="flat",
        parts=[Part("a", 1.0)],
        sizes={"x": 3},
        mean=(0.5, 1.0),
        shape=[3],
        extra=["anything"],
    )
    assert actual == expected
    assert type(actual.parts[0].weight) is float
    assert record(Settings, VALUE).shape is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "2"}, "'count' is '2', expected int"),
        ({"count": True}, "'count' is True, expected int"),
        ({"count": 2.0}, "'count' is 2.0, expected int"),
        ({"count": None}, "'count' is None, expected int"),
        ({"kind": "hnsw"}, "'kind' is 'hnsw', expected"),
        ({"kind": []}, r"'kind' is \[\], expected"),
        ({"parts": {}}, "'parts' is {}, expected"),
        ({"parts": [5]}, "expected an object, got 5"),
        ({"parts": [{"name": "a"}]}, "missing key 'weight'"),
        ({"parts": [{"name": "a", "weight": "1"}]}, "'weight' is '1', expected float"),
        ({"sizes": {"x": None}}, "'sizes.x' is None, expected int"),
        ({"mean": [1.0]}, r"'mean' is \[1.0\]"),
        ({"mean": [1.0, 2.0, 3.0]}, "'mean' is"),
        ({"shape": ["3"]}, "'shape' is '3', expected int"),
        ({"shape": 3}, "'shape' is 3, expected"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_anything_else_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(Settings, VALUE | change)


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected an object"):
        record(Part, value)
