"""Studies with `start`: plans in which the kv heads of all layers compete for slots."""

from pathlib import Path

import pytest

from tests.search.adopted import study

pytestmark = pytest.mark.usefixtures("one_store")


def test_all_heads_compete_where_that_is_allowed(place: Path) -> None:
    """In plans of the same state, tried beside the others; by `allocate: layer` none counts any more."""
    found = study(place).run()
    rows = [row for row in found.rows if row.name == "uniform sparse by use, all heads compete"]
    assert rows
    for row in rows:
        layers = [{name: value for name, value in layer.items() if name != "allocate"} for layer in row.layers]
        apart = next(each for each in found.rows if each.layers == layers)
        assert (apart.name, apart.state_bytes) == ("uniform sparse by use", row.state_bytes)
        assert row.difference
    again = study(place, "allocate=layer").reselect()
    assert again.rows
    assert not any("compete" in row.name for row in again.rows)
