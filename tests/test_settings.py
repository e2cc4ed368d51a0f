"""Values are strict, and what is wrong is said in one line."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from l2m_design.errors import BadInput
from l2m_design.settings import Values, override, parse_yaml, read_mapping, to_json, to_yaml, write_atomically


class Inner(Values):
    rate: Annotated[float, Field(gt=0)] = 1e-3


class Outer(Values):
    name: str
    inner: Inner = Inner()
    sizes: Annotated[tuple[int, ...], Field(strict=False)] = ()


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(BadInput, match=r"f\.yaml: inner: unknown key 'rat'; did you mean 'rate'\?"):
        Outer.parse({"name": "a", "inner": {"rat": 1.0}}, "f.yaml")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "name: field required"),
        ({"name": 3}, "name: input should be a valid string, found 3"),
        ({"name": "a", "inner": {"rate": -1.0}}, r"inner\.rate: input should be greater than 0, found -1\.0"),
        ({"name": "a", "inner": {"rate": float("nan")}}, r"inner\.rate"),
        ({"name": "a", "sizes": [True]}, r"sizes\.0: input should be a valid integer, found true"),
    ],
)
def test_a_wrong_value_is_named_with_its_field(data: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        Outer.parse(data, "f.yaml")
    assert "\n" not in str(refused.value)


def test_scientific_notation_is_a_number() -> None:
    assert parse_yaml("a: 1e-3\nb: 2.5E4", "t") == {"a": 1e-3, "b": 2.5e4}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [1", "a: !!python/object:os.system x", "\t- x: ["])
def test_broken_or_hostile_yaml_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="not valid YAML"):
        parse_yaml(text, "file")


def test_overrides_reach_into_nested_keys_and_leave_the_original_alone() -> None:
    data = {"inner": {"rate": 1.0}}
    assert override(data, ["inner.rate=1e-2", "name=x"]) == {"inner": {"rate": 0.01}, "name": "x"}
    assert data == {"inner": {"rate": 1.0}}


@pytest.mark.parametrize("setting", ["rate", "=3", "name.deeper=1"])
def test_a_malformed_override_is_bad_input(setting: str) -> None:
    with pytest.raises(BadInput, match="`overrides`"):
        override({"name": "a"}, [setting])


def test_values_survive_yaml_and_json(tmp_path: Path) -> None:
    values = Outer(name="é: x", sizes=(1, 2))
    for ending in ("yaml", "json"):
        values.save(tmp_path / f"v.{ending}")
        assert Outer.load(tmp_path / f"v.{ending}") == values


def test_the_fingerprint_changes_with_any_value_and_with_nothing_else() -> None:
    assert Outer(name="a").fingerprint == Outer(name="a", inner=Inner()).fingerprint
    assert Outer(name="a").fingerprint != Outer(name="b").fingerprint


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


def test_a_file_that_is_not_a_mapping_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("- 1")
    with pytest.raises(BadInput, match="a mapping of keys"):
        read_mapping(tmp_path / "f.yaml")
    with pytest.raises(BadInput, match="No such file"):
        read_mapping(tmp_path / "none.yaml")


def test_yaml_is_written_a_line_a_layer() -> None:
    assert to_yaml({"layers": [{"a": 1, "b": 2}]}) == "layers:\n- {a: 1, b: 2}\n"
