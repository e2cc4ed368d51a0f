"""Scores by any causal language model of Hugging Face's transformers: a folder, a .gguf file, a name."""

import io
from contextlib import redirect_stderr
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2m_design.corpus.tokenizers import local, quiet
from l2m_design.errors import BadInput, first_line
from l2m_design.estimates import Floats
from l2m_design.information.scores.base import nats_after_plainly
from l2m_design.information.scores.model import token_nats, weights_fingerprint
from l2m_design.information.scores.start import behind_start, start_token
from l2m_design.settings import fingerprint

LOGITS = 1 << 27
MOST_TOKENS = 32768


class HuggingFaceScorer:
    """A causal model behind its start token; without one, the first token is scored by a unigram law.

    fp32 on a CPU, bf16 on a GPU. The keys and values of a past are computed once for all that follow it.
    """

    exact = False

    def __init__(self, model: Any, start: int | None, first: Floats, name: str, device: torch.device) -> None:
        self.name = name
        self._model = model.eval().to(device)
        self._device = device
        self._start = start
        self._first = first
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        how = fingerprint([model.config.to_dict() | {"_name_or_path": None}, str(model.dtype), device.type, start])
        self.fingerprint = f"{weights_fingerprint(model)} {how}"
        self.context = context_of(model.config, start)
        self.batch_tokens = max(256, min(MOST_TOKENS, LOGITS // self.vocabulary))

    @torch.inference_mode()
    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats."""
        rows = self._rows(tokens)
        if self._start is not None:
            given = behind_start(rows[:, :-1], self._start)
            return token_nats(self._model(given, use_cache=False).logits, rows)
        result = np.empty(tokens.shape)
        result[:, 0] = self._first[tokens[:, 0]]
        result[:, 1:] = token_nats(self._model(rows[:, :-1], use_cache=False).logits, rows[:, 1:])
        return result

    @torch.inference_mode()
    def nats_after(self, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]) -> list[Floats]:
        """[b t] nats behind each cut, by one growing cache that is cut back after each answer."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        if any(getattr(layer, "is_sliding", False) for layer in cache.layers) or not _attends_only(self._model):
            return nats_after_plainly(self, past, tokens, cuts)
        rows, before, found = behind_start(self._rows(past), self._start), 0, []
        logits = torch.empty(0)
        shift = int(self._start is not None)
        for answer, cut in zip(tokens, cuts, strict=True):
            end = cut + shift
            if end > before:
                last = self._model(rows[:, before:end], past_key_values=cache, use_cache=True, logits_to_keep=1)
                logits, before = last.logits[:, -1:], end
            following = self._rows(answer)
            if following.shape[1] == 1:
                found.append(token_nats(logits, following))
                continue
            rest = self._model(following[:, :-1], past_key_values=cache, use_cache=True).logits
            found.append(token_nats(torch.cat([logits, rest], dim=1), following))
            cache.crop(-(following.shape[1] - 1))
        return found

    def _rows(self, tokens: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens)).to(self._device)


def _attends_only(model: Any) -> bool:
    """Only a cache of keys and values can be cut back."""
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"} and not getattr(model, "_is_stateful", False)


def context_of(config: Any, start: int | None) -> int | None:
    """Tokens that a window may have: its last one is never fed, so a start token costs nothing."""
    text = config.get_text_config()
    for key in ("max_position_embeddings", "n_positions"):
        if isinstance(limit := getattr(text, key, None), int):
            return limit + int(start is None)
    return None


def load_scorer(
    source: str, first: Floats, device: torch.device, start: int | None = None, trust_remote_code: bool = False
) -> HuggingFaceScorer:
    """A scorer by the model that `load_model` finds. Raises BadInput.

    first: [v_] unigram nats of the corpus. start: the tokenizer's start token, if it has one.
    """
    model = load_model(source, device, trust_remote_code)
    return HuggingFaceScorer(
        model, start_token(model.config, start), first, local(source, "`model`").name or source, device
    )


def load_config(source: str, where: str = "`model`") -> Any:
    """The config of a folder, a .gguf file or a name, without weights. Raises BadInput as `load_model` does."""
    from transformers import AutoConfig

    quiet()
    path = local(source, where)
    gguf = path.suffix == ".gguf"
    try:
        with redirect_stderr(io.StringIO()):
            return AutoConfig.from_pretrained(
                str(path.parent) if gguf else source,
                trust_remote_code=False,  # else the user is asked in the terminal
                **({"gguf_file": path.name} if gguf else {}),
            )
    except Exception as error:  # as below
        if "custom code" in str(error):
            raise BadInput(
                f"{where} {source}: needs Python code of its own (auto_map), which is not run; use a model that "
                "transformers supports"
            ) from None
        raise BadInput(f"{where} {source}: {first_line(error)}") from None


def load_model(source: str, device: torch.device, trust_remote_code: bool = False, where: str = "`model`") -> Any:
    """The model of a folder, a .gguf file or a name, in float32 on a CPU and bfloat16 on a GPU; only safetensors and
    GGUF weights are read. Raises BadInput, which says `where` the user named it.
    """
    from transformers import AutoModelForCausalLM

    quiet()
    path = local(source, where)
    gguf = path.suffix == ".gguf"
    place = str(path.parent) if gguf else source
    extra = {"gguf_file": path.name} if gguf else {"use_safetensors": True}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        with redirect_stderr(io.StringIO()):  # progress bars that no setting turns off
            model = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, trust_remote_code=trust_remote_code, **extra
            )
    except Exception as error:  # transformers raises many kinds; a user sees one line
        raise BadInput(f"{where} {source}: {first_line(error)}") from None
    return model.eval().to(device)
