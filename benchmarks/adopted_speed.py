"""Decoding with a cache whose heads compete, and so hold unlike numbers, against the full cache: time a token.

Run: python benchmarks/adopted_speed.py [--tokens 32768] [--share 0.125] [--steps 40]. A Llama of eight layers of
SmolLM2-135M's width with random weights; both caches hold random keys, the bounded one as many slots as the share says,
spread over heads at random (the widest holds several times the mean). Medians of steps taken by turns; of the bounded
cache the mean of a whole chunk, in which it evicts once.
"""

import argparse
import statistics
import time

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

from l2m_design.architecture.schedules import GlobalBudget
from l2m_design.model.adopted import AdoptedModel, AdoptedState
from l2m_design.model.competing import Slots

LAYERS, KV_HEADS, HEAD_DIM, CHUNK = 8, 3, 64, 32
VOCABULARY = 4096


def bounded(model: AdoptedModel, tokens: int, slots: int) -> AdoptedState:
    """A state after `tokens` tokens with `slots` a head on average."""
    heads = LAYERS * KV_HEADS
    share = torch.distributions.Dirichlet(torch.full((heads,), 1.5)).sample()
    counts = (share * (slots * heads - 8 * heads)).int() + 8
    counts[0] += slots * heads - int(counts.sum())
    total = int(counts.sum())
    records = torch.zeros(1, total, 4)
    near = torch.randn(1, heads, CHUNK, HEAD_DIM)
    packed = Slots(torch.randn(1, total, HEAD_DIM), torch.randn(1, total, HEAD_DIM), records, counts[None])
    print(f"slots of a head: mean {slots}, least {int(counts.min())}, most {int(counts.max())}")
    return AdoptedState(packed, (near, near.clone(), torch.zeros(1, heads, CHUNK, 4)), (), tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--share", type=float, default=0.125)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    slots = int(arguments.tokens * arguments.share)
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": KV_HEADS}
    config = LlamaConfig(**sizes, num_hidden_layers=LAYERS, vocab_size=VOCABULARY, max_position_embeddings=1 << 20)
    model = LlamaForCausalLM(config).eval()
    grown = DynamicCache()
    static = StaticCache(config=config, max_cache_len=arguments.tokens + arguments.steps)
    for layer in range(LAYERS):
        keys = torch.randn(1, KV_HEADS, arguments.tokens, HEAD_DIM)
        grown.update(keys, keys.clone(), layer)
        static.update(keys, keys.clone(), layer)
    adopted = AdoptedModel(model, GlobalBudget(CHUNK, "fixed", window=slots, sinks=4), "model")
    state = bounded(adopted, arguments.tokens, slots)
    token = torch.zeros(1, 1, dtype=torch.long)
    times: dict[str, list[float]] = {"full, static": [], "full, as it grows": [], "bounded": []}
    with torch.inference_mode():
        for _ in range(arguments.steps):
            for name, cache in (("full, static", static), ("full, as it grows", grown), ("bounded", None)):
                began = time.perf_counter()
                if cache is None:
                    _, state = adopted.step(token[:, 0], state)
                else:
                    model(token, past_key_values=cache, use_cache=True)
                times[name].append(time.perf_counter() - began)
    found = {name: 1e3 * statistics.median(each[3:]) for name, each in times.items()}
    found["bounded"] = 1e3 * statistics.fmean(times["bounded"][:CHUNK])  # one chunk, its eviction among them
    print(f"{arguments.tokens} tokens, a share of {arguments.share:g}, {LAYERS} layers: ms a token")
    for name, each in found.items():
        print(f"{name}: {each:.1f}, bounded over it {found['bounded'] / each:.3f}")


if __name__ == "__main__":
    main()
