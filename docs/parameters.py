"""An extension of griffe: docstrings that describe parameters as `name: text. name: text.` are shown as lists."""

from typing import Any

import griffe
from generated import described


class Parameters(griffe.Extension):
    """Each described parameter or field becomes an item."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Of a function: its parameters."""
        _itemise(func, [parameter.name for parameter in func.parameters])

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Of a class: its fields."""
        _itemise(cls, [name for name, member in cls.members.items() if member.is_attribute])


def _itemise(of: griffe.Function | griffe.Class, names: list[str]) -> None:
    names = [name for name in names if name not in ("self", "cls")]
    if of.docstring is None or not names:
        return
    text, mark, examples = of.docstring.value.partition("Examples:")
    first, _, rest = text.partition("\n\n")
    intro, meanings = described(rest, names)
    if meanings:
        items, raises, errors = "\n".join(f"- **{name}**: {said}" for name, said in meanings.items()).partition(
            "Raises "
        )
        of.docstring.value = f"{first}\n\n{intro}\n\n{items}\n\n{raises}{errors}\n\n{mark}{examples}"
