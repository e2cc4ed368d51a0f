"""Running an exported folder: its text token by token, with the bytes of its state as they grow."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2m_design.architecture.readers.config import DEPTH
from l2m_design.corpus.tokenizers import quiet
from l2m_design.errors import BadInput, first_line
from l2m_design.export.loaded import KERNELS, cache_name, hide, tensors
from l2m_design.model.generate import sample
from l2m_design.settings import Json

BYTES = 256
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class Written:
    """One step. tokens: read so far, the new one not among them; seconds: of this step; state_bytes: held after it."""

    token: int
    tokens: int
    seconds: float
    state_bytes: int


class Running:
    """A folder's model and its tokenizer, or bytes where it has none. No code of the folder runs.

    Raises BadInput when the folder holds no model that can be loaded.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForCausalLM

        import l2m_design.export.hub  # noqa: F401 - registers the package's own class
        from l2m_design.export.hub.adopted import SETTINGS, AdoptedForCausalLM

        config = read_config(folder)
        if device.type == "cpu":
            hide(*KERNELS)
        quiet()
        loads: Any = AdoptedForCausalLM if SETTINGS in config else AutoModelForCausalLM
        try:
            self.model, info = loads.from_pretrained(
                folder,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:  # transformers raises many types for what a folder may lack
            raise BadInput(f"{folder}: cannot be loaded: {first_line(error)}") from None
        other = sorted(str(key[0]) for key in info["mismatched_keys"])
        for wrong, keys in (
            ("are missing", info["missing_keys"]),
            ("have sizes that contradict config.json", other),
            ("are not part of the model that config.json describes", info["unexpected_keys"]),
        ):
            if keys:
                raise BadInput(f"{folder}: weights {wrong}: {', '.join(sorted(map(str, keys))[:3])}")
        self.model = self.model.eval().to(device)
        self.device, self.vocabulary = device, int(self.model.config.vocab_size)
        self.format, self.kind = type(self.model).__name__, str(config["model_type"])
        self.tokenizer = _tokenizer(folder)

    def tokens(self, prompt: str) -> list[int]:
        """A prompt by the tokenizer, as bytes, or as numbers where the vocabulary is smaller. Raises BadInput."""
        given = prompt.encode(errors="surrogateescape")  # the bytes of a command line that are not UTF-8
        if self.tokenizer is not None:
            found = list(self.tokenizer(given.decode(errors="replace"))["input_ids"])
        elif self.vocabulary >= BYTES:
            found = list(given)
        else:
            try:
                found = [int(word) for word in prompt.split()]
            except ValueError:
                raise BadInput(
                    f"`prompt`: the model has {self.vocabulary} tokens and no tokenizer; give token numbers, such as "
                    "'1 2 3'"
                ) from None
        if not found or not all(0 <= token < self.vocabulary for token in found):
            raise BadInput(f"`prompt`: must have at least one token, each from 0 to {self.vocabulary - 1}")
        return found

    def text(self, tokens: list[int]) -> str:
        """Decode tokens to text."""
        if self.tokenizer is not None:
            return str(self.tokenizer.decode(tokens))
        if self.vocabulary >= BYTES:
            return bytes(token for token in tokens if token < BYTES).decode(errors="replace")
        return " ".join(map(str, tokens))

    @torch.inference_mode()
    def write(self, prompt: list[int], most: int, temperature: float, seed: int) -> Iterator[Written]:
        """Up to `most` new tokens after a prompt; the last one is not read. Raises WorkFailed for logits not finite."""
        generator = torch.Generator(self.device).manual_seed(seed)
        new = torch.tensor([prompt], device=self.device)
        held: dict[str, object] = {}
        for read in range(len(prompt), len(prompt) + most):
            began = time.perf_counter()
            output = self.model(new, use_cache=True, **held)
            held = {cache_name(output): output[cache_name(output)]}
            token = int(sample(output.logits[:, -1], temperature, 1.0, generator))
            new = torch.tensor([[token]], device=self.device)
            yield Written(token, read, time.perf_counter() - began, held_bytes(held))


def print_text(running: Running, prompt: list[int], steps: Iterable[Written]) -> Iterator[Written]:
    """Yield the steps and print each word on stdout as soon as it is complete, so that an interrupt loses none."""
    from transformers import TextStreamer

    stream = TextStreamer(_Words(running))
    stream.put(torch.tensor(prompt))
    try:
        for step in steps:
            stream.put(torch.tensor([step.token]))
            yield step
    finally:
        stream.end()


class _Words:
    """A model's text as a tokenizer gives it, which is what a streamer of transformers asks for."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def decode(self, tokens: list[int] | int) -> str:
        """Decode one token or several."""
        return self._running.text([tokens] if isinstance(tokens, int) else tokens)


def held_bytes(cache: Any) -> int:
    """Bytes of all tensors that a cache reaches."""

    def size(z: Tensor) -> int:
        return z.numel() * z.element_size()

    return sum(map(size, tensors(cache)))


def read_config(folder: Path) -> Json:
    """The folder's config.json. Raises BadInput when there is none, or not of a transformers model."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(
            f"{path}: no such file; `l2m export ARCHITECTURE --to huggingface` writes such a folder"
        ) from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {first_line(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        ssm = isinstance(config, dict) and "d_model" in config
        raise BadInput(f"{path}: " + ("a file of mamba_ssm, which runs it itself" if ssm else "has no model_type"))
    for name, depth in ((name, config[name]) for name in DEPTHS if name in config):
        if isinstance(depth, int) and depth > DEPTH:
            raise BadInput(f"{path}: {name}: found {depth:,}, at most {DEPTH:,} layers are supported")
    return dict(config)


def _tokenizer(folder: Path) -> Any:
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as many types as there are tokenizers
        raise BadInput(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from None
