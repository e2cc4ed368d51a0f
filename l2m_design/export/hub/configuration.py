"""L2MConfig: an architecture in a transformers config.

It imports nothing of this package: transformers loads the code of a config and of a model apart from each other.
"""

from typing import Any

from transformers import PretrainedConfig


class L2MConfig(PretrainedConfig):  # type: ignore[misc]
    """Contains the whole architecture, which the model reads and checks; the other fields are for tools that ask."""

    model_type = "l2m"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012 - the base class's own way

    def __init__(self, drawing: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.drawing = drawing
        self.vocab_size = kwargs.pop("vocab_size", None)
        self.hidden_size = kwargs.pop("hidden_size", None)
        self.num_hidden_layers = kwargs.pop("num_hidden_layers", None)
        self.use_cache = kwargs.pop("use_cache", True)
        super().__init__(**kwargs)
