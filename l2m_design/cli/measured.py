"""Print a measurement of `l2m estimate`: the table, beta if there is one, and cautions."""

from typing import TYPE_CHECKING

from l2m_design.cli.terminal import say, table

if TYPE_CHECKING:
    from l2m_design.information import Measurement, TwoPoint


def print_measurement(found: "Measurement") -> None:
    """Print the curve as a table, then sentences."""
    _print_curve(found)
    if found.beta:
        say(
            f"beta = {found.beta} ({found.fit.law.level:.0%}, {len(found.curve.nats)} {found.curve.unit} resampled); "
            f"I(n;n) = {found.fit.law.formula()} nats"
        )
    else:
        say(f"no beta: {found.without_beta}")
    say(
        f"Law: {found.fit.sentence}.",
        f"Estimator: {found.curve.estimator}; {found.tokens_scored:,} tokens scored in {found.seconds:.1f} s.",
    )
    if found.losses is not None:
        losses = found.losses.by_position
        at = [2**j for j in range(0, len(losses).bit_length(), 2)]
        say("Loss by position, nats: " + ", ".join(f"{losses[t - 1]:.2f} at {t}" for t in at))
    if found.compression:
        say(_primed(found))
    if found.explained is not None:
        low, high = max(0.0, min(found.explained)), max(0.0, *found.explained)
        say(f"The control variate, a compressor, removes {low:.0%} to {high:.0%} of the variance between documents.")
    say(*(f"Note: {note}." for note in found.notes))


def _print_curve(found: "Measurement") -> None:
    """Print a row for each length, with the controls of the compression estimator beside the amount."""
    slopes = [""] + [f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]" for s in found.fit.local_slopes]
    names = [_unit(found), "I(n;n), nats", "interval", "local slope"]
    columns = [
        [f"{n}" for n in found.curve.lengths.tolist()],
        [f"{e.value:.4g}" for e in found.interval],
        [f"{e.low:.4g} .. {e.high:.4g}" for e in found.interval],
        slopes,
    ]
    if found.compression:
        names += ["from vocabulary alone", "from another document"]
        for control in (found.compression.words, found.compression.learnt):
            columns.append([f"{value:.4g}" for value in control.mean()])
    if found.other is not None:
        names.append("from other recordings")
        columns.append([f"{value:.4g}" for value in found.other])
    table(names, [list(row) for row in zip(*columns, strict=True)])


def _primed(found: "Measurement") -> str:
    """Say how much the compressor had read before, and whether more reading still changes the result."""
    assert found.compression is not None
    sizes = ", ".join(f"{nats:.4g} after {tokens:,}" for tokens, nats in sorted(found.compression.plateau.items()))
    words, order = (curve.mean()[-1] for curve in (found.compression.words, found.compression.ordered))
    share = (
        f"At the longest n, {max(0.0, words / (words + order)):.0%} of it comes from vocabulary alone. "
        if words + order > 0
        else ""
    )
    return (
        f"Compressor: {found.compression.bits:.2f} bits per token at the longest n. I(n;n) there, by the number of "
        "tokens of other documents that it read first, in "
        f"{found.compression.words.nats.shape[0]} {found.curve.unit}: {sizes}. {share}"
        "Column 'from vocabulary alone': I(n;n) with the words of X shuffled. Column 'from another document': I(n;n) "
        "with the X of another document, which is language that the compressor had not learned before."
    )


def _unit(found: "Measurement") -> str:
    return "n, time steps" if found.curve.estimator == "gaussian" else "n, tokens"


def print_compared(found: "list[Measurement]") -> None:
    """Print a line for each estimator and model."""
    table(
        ["estimator", "vocabulary", "beta", "law", "longest n", "I(n;n) there, nats", "loss at the end, nats"],
        [
            [
                m.curve.estimator,
                f"{m.vocabulary}",
                str(m.beta) if m.beta else "none",
                m.fit.preferred,
                f"{m.curve.lengths[-1]}",
                f"{m.interval[-1].value:.4g}",
                f"{m.losses.by_position[-(len(m.losses.by_position) // 4) :].mean():.3f}" if m.losses else "",
            ]
            for m in found
        ],
    )
    say(
        "n counts tokens (gaussian: time steps), so rows with different vocabularies cannot be compared at the same n. "
        "In the same tokens, the estimate of the model with the lower loss is nearer to the data. Compression finds "
        "only what n-grams find. Direct and vclub share a term, so their agreement confirms nothing."
    )


def print_two_point(pairs: "TwoPoint") -> None:
    """Print the mutual information of two single tokens by their distance."""
    table(
        ["distance d", "I2(d), nats", "interval"],
        [
            [f"{d}", f"{e.value:.3g}", f"{e.low:.3g} .. {e.high:.3g}"]
            for d, e in zip(pairs.curve.lengths.tolist(), pairs.interval, strict=True)
        ],
    )
    decay = f"I2(d) = {pairs.prefactor:.3g} d^-alpha {pairs.constant:+.3g}, alpha = {pairs.alpha}"
    say(
        decay if pairs.alpha else "I2(d): no decay above the noise",
        "Two-point information is that of two single tokens; beta does not follow from it.",
    )
