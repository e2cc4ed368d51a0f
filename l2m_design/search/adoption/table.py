"""Score tables: a line for each thing measured, appended as it is known: a stopped study loses one at most."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from l2m_design.architecture.plans import CachePlan
from l2m_design.errors import BadInput
from l2m_design.estimates import Floats
from l2m_design.search.adoption.knapsack import Unit
from l2m_design.settings import fingerprint


def key_of(*parts: Any) -> str:
    """A key of JSON-ready parts."""
    return json.dumps(parts)


class Lines:
    """A JSONL file of values by key, of one identity: lines of another, or cut short, count for nothing."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        self.told: list[dict[str, Any]] = []  # of each line, what it says beside key and values
        self._found: dict[str, dict[str, float]] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):
                with path.open("a", encoding="utf-8") as file:
                    file.write("\n")

    def _take(self, line: str) -> None:
        try:
            data = json.loads(line)
            if data["of"] == self.identity:
                self._found[key_of(*data["key"])] = data["values"]
                self.told.append({name: data[name] for name in data.keys() - {"of", "key", "values"}})
        except (ValueError, KeyError, TypeError):
            return

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> dict[str, float]:
        return self._found[key]

    def add(self, key: str, values: dict[str, float], **told: Any) -> None:
        """Append a line, with what else a reader of the file may want to be told."""
        line = json.dumps({"of": self.identity, "key": json.loads(key), "values": values} | told)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._take(line)


def cost_key(window: int, unit: Unit | None, option: int = 0) -> str:
    """Of a replacement on a window; of the model itself without a unit."""
    if unit is None:
        return key_of("model", window)
    return key_of("replaced", window, unit.layer, list(unit.heads), unit.options[option].plain())


def plan_name(plan: CachePlan) -> str:
    """16 hexadecimal digits that tell a plan from others."""
    return fingerprint(plan.plain())


def costs_of(lines: Lines, units: list[Unit], windows: int) -> Floats:
    """[units, most options] mean loss of each replacement above the model's own, nats per token; 0 of what is its own,
    NaN where a unit has no such option. Raises BadInput where something is not measured.
    """
    most = max(len(unit.options) for unit in units)
    costs = np.full((len(units), most), np.nan)
    for u, unit in enumerate(units):
        costs[u, 0] = 0.0
        for o in range(1, len(unit.options)):
            if any(cost_key(w, unit, o) not in lines for w in range(windows)):
                raise BadInput(f"options: {unit.options[o]} in layer {unit.layer} was not measured; search again")
            above = [lines[cost_key(w, unit, o)]["late"] - lines[cost_key(w, None)]["late"] for w in range(windows)]
            costs[u, o] = float(np.mean(above))
    return costs
