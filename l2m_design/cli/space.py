"""`l2m space SPACE`: how many drawings a space holds, and how many meet the condition."""

from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, Set, print_json, say, table

SAMPLE = 500


def command(
    space: Annotated[str, typer.Argument(help="A search space, as search_spaces/hybrid.yaml.")],
    beta: Annotated[float, typer.Option(help="The exponent that the data ask for.")] = 0.7,
    prefactor: Annotated[float | None, typer.Option(help="A of I(n;n) = A n^beta, nats: judges levels too.")] = None,
    length: Annotated[int, typer.Option(help="Target context, tokens.")] = 65536,
    vocabulary: Annotated[int, typer.Option(help="Tokens of the corpus.")] = 256,
    overrides: Set = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Count a space's drawings and the share that meets the condition (from a random sample of 500)."""
    import random

    from l2m_design.condition import Demand, Terms
    from l2m_design.errors import BadInput
    from l2m_design.laws import PowerLaw
    from l2m_design.report.words import size
    from l2m_design.search.space import Space, check_space

    if not 0 < beta <= 1:
        raise BadInput(f"--beta: must lie in (0, 1], found {beta}")
    holds = Space.load(space, overrides).resolved(beta)
    demand = Demand(PowerLaw(prefactor or 1.0, beta), Terms.parse({"length": length}, "space"), prefactor is not None)
    check_space(holds, {}, vocabulary, space)
    rng = random.Random(0)  # noqa: S311 - a sample, not a secret
    drawn = [holds.draw(lambda name, options: rng.choice(options), vocabulary) for _ in range(SAMPLE)]
    met = [demand.judge(drawing.state).met for drawing in drawn]
    bytes_ = sorted(drawing.state.bytes(length) for drawing in drawn)
    result = {
        "space": space,
        "layers": holds.depth,
        "mixers": len(holds.mixers),
        "drawings": holds.drawings,
        "feasible_share": sum(met) / SAMPLE,
        "sampled": SAMPLE,
        "beta": beta,
        "length": length,
        "parameters": {
            "asked": holds.parameters,
            "least": min(d.parameters for d in drawn),
            "most": max(d.parameters for d in drawn),
        },
        "widths": {"least": min(d.width for d in drawn), "most": max(d.width for d in drawn)},
        "state_bytes": {"least": bytes_[0], "median": bytes_[SAMPLE // 2], "most": bytes_[-1]},
    }
    if as_json:
        print_json(result)
        return
    table(
        ["choice", "options"],
        [["kind", ", ".join(holds.kinds)]]
        + [[name, ", ".join(str(o) for o in options)] for name, options in holds.choices.items()],
    )
    say(
        f"{holds.depth} layers of {len(holds.mixers)} different mixers: {holds.drawings:,} drawings.",
        f"{sum(met) / SAMPLE:.0%} of {SAMPLE} drawn at random meet the condition at beta = {beta:g}"
        + ("." if prefactor else " (growth only; --prefactor judges levels too)."),
        f"State at {length:,} tokens (bfloat16): {size(bytes_[0])} to {size(bytes_[-1])}, "
        f"median {size(bytes_[SAMPLE // 2])}.",
    )
