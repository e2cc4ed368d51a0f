"""`l2m generate FOLDER --prompt TEXT`: generate text with an exported model and show how its state grows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Device, Json, print_json, say

if TYPE_CHECKING:
    from l2m_design.export.running import Written


def command(
    folder: Annotated[Path, typer.Argument(help="Folder that `l2m export --to huggingface` wrote.")],
    prompt: Annotated[str, typer.Option(help="Text to continue; read as bytes if the folder has no tokenizer.")],
    tokens: Annotated[int, typer.Option(min=1, max=2**24, help="Number of tokens to generate.")] = 64,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Sampling temperature; 0 always takes the most probable token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed of sampling.")] = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Generate text with an exported model; print tokens per second and the bytes of its state as they grow."""
    from l2m_design.export.running import Running, print_text
    from l2m_design.model.backends import pick_device

    running = Running(folder, pick_device(device))
    prompted = running.tokens(prompt)
    began = time.perf_counter()
    writing = running.write(prompted, tokens, temperature, seed)
    steps = list(writing if as_json else print_text(running, prompted, writing))
    seconds = time.perf_counter() - began - steps[0].seconds
    written = [step.token for step in steps]
    speed = (len(steps) - 1) / seconds if len(steps) > 1 else None
    result = {
        "format": running.format,
        "prompt_tokens": len(prompted),
        "tokens": written,
        "text": running.text(written),
        "prompt_seconds": steps[0].seconds,
        "tokens_per_second": speed,
        "state_bytes": {str(step.tokens): step.state_bytes for step in steps},
    }
    if as_json:
        print_json(result)
        return
    say(
        "",
        f"{running.format}: read {len(prompted):,} tokens in {steps[0].seconds:.2f} s, generated {len(written):,}"
        + (f" at {speed:.1f} tokens per second" if speed else ""),
        "State: "
        + ", ".join(f"{shown.state_bytes:,} bytes at {shown.tokens:,}" for shown in _shown(steps))
        + " tokens",
    )


def _shown(steps: "list[Written]") -> "list[Written]":
    """Return the first step, those at doublings of its length, and the last."""
    chosen, wanted = [], 0
    for step in steps:
        if step.tokens >= wanted or step is steps[-1]:
            chosen.append(step)
            wanted = 2 * step.tokens
    return chosen
