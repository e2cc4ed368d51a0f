"""Bounded generation: a causal language model whose cache holds a state per sequence, under generate()."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from l2m_design.export.hub.cache import Group, StateCache
from l2m_design.model.generate import select_rows

CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"  # its name until 5.23


class Bounded:
    """Comes before a PreTrainedModel with generation. Sequences of a padded batch are read as they would be alone."""

    _is_stateful = True  # no rollback: no assisted decoding
    config: Any
    training: bool
    loss_function: Any

    @abstractmethod
    def reader(self) -> Any:
        """What reads: called on tokens [b t] it answers logits [b t v_], and prefill continues from a state."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: StateCache | None = None,
        cache: StateCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Logits [b t v_] of tokens [b t], zeros where the mask says padding; positions are counted without it.

        attention_mask: [b t] or [b columns]; only its last t columns are read. Raises ValueError for what cannot be
        read: embeddings, other caches, other masks.
        """
        for option in ("output_hidden_states", "output_attentions"):
            if others.get(option):
                raise ValueError(f"{option}: not supported, this model returns logits only")
        held = past_key_values if cache is None else cache
        if input_ids is None or others.get("inputs_embeds") is not None:
            raise ValueError("input_ids are required: this model reads tokens, not embeddings")
        if held is not None and not isinstance(held, StateCache):
            raise ValueError(
                f"past_key_values must be a StateCache, found {type(held).__name__}; leave it out and forward makes one"
            )
        if use_cache is None:
            use_cache = held is not None or (self.config.use_cache and not self.training)
        if use_cache and held is None:
            held = StateCache(len(input_ids))
        real = padding(attention_mask, input_ids)
        last = isinstance(logits_to_keep, int) and logits_to_keep == 1 and (real is None or bool(real[:, -1].all()))
        logits = self._read(input_ids, real, held, last)
        if not last:
            logits = logits[:, -logits_to_keep:] if isinstance(logits_to_keep, int) else logits[:, logits_to_keep]
        loss = None
        if labels is not None:
            share = {name: others[name] for name in ("num_items_in_batch",) if name in others}  # of several batches
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **share)
        answer = CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: held if use_cache else None})
        return answer.to_tuple() if return_dict is False else answer

    def _read(self, tokens: Tensor, real: Tensor | None, cache: StateCache | None, last: bool) -> Tensor:
        """Logits [b t v_], or of the last column [b 1 v_]; the cache, if there is one, continues."""
        before = StateCache(len(tokens)).groups if cache is None else cache.groups
        parts, after = [], []
        for group, count in split(before, real, tokens.shape[1]):
            if not count:
                after.append(group)
                continue
            chosen = tokens[group.rows] if real is None else tokens[group.rows][real[group.rows]].view(-1, count)
            if cache is None:
                logits = self.reader()(chosen)
                logits = logits[:, -1:] if last else logits
            else:
                logits, state = self.reader().prefill(chosen, group.state, last)
                after.append(Group(group.rows, state))
            parts.append((group.rows, logits))
        if cache is not None:
            cache.groups, cache.columns = after, cache.columns + tokens.shape[1]
        return together(parts, None if last else real, tokens)


def padding(mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """[b t] True where tokens [b t] are to be read; none where all are."""
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[1] < tokens.shape[1]:
        raise ValueError(f"attention_mask: the shape must be [batch, tokens], found {list(mask.shape)}")
    real = mask[:, -tokens.shape[1] :].bool()
    if not real.any():
        raise ValueError("attention_mask: at least one token must not be masked")
    return None if bool(real.all()) else real


def split(groups: list[Group], real: Tensor | None, t: int) -> Iterator[tuple[Group, int]]:
    """Groups that read equally many of t new tokens, and how many."""
    for group in groups:
        if real is None:
            yield group, t
            continue
        counts = real[group.rows].sum(1).tolist()
        for count in sorted(set(counts)):
            places = [place for place, found in enumerate(counts) if found == count]
            whole = len(places) == len(counts)
            yield (group if whole else Group([group.rows[p] for p in places], select_rows(group.state, places))), count


def together(parts: list[tuple[list[int], Tensor]], real: Tensor | None, tokens: Tensor) -> Tensor:
    """[b t v_] of the logits of some rows each, zeros in padding."""
    if real is None and len(parts) == 1 and parts[0][0] == list(range(len(tokens))):
        return parts[0][1]
    first = parts[0][1]
    t = first.shape[1] if real is None else tokens.shape[1]
    logits = first.new_zeros(len(tokens), t, first.shape[-1])
    for rows, found in parts:
        at = torch.tensor(rows, device=tokens.device)
        if real is None:
            logits[at] = found
        else:
            row, column = real[at].nonzero(as_tuple=True)
            logits[at[row], column] = found.flatten(0, 1)
    return logits
