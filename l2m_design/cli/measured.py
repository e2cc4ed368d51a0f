"""What `l2m estimate` prints of a measurement: the table, beta or none, and what to hold against it."""

from typing import TYPE_CHECKING

from l2m_design.cli.terminal import say, table

if TYPE_CHECKING:
    from l2m_design.information import Measurement, TwoPoint


def print_measurement(found: "Measurement") -> None:
    """The curve as a table, then sentences."""
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
        say(f"Control variate: a compressor's nats took off {low:.0%} to {high:.0%} of the variance between documents.")
    say(*(f"Note: {note}." for note in found.notes))


def _print_curve(found: "Measurement") -> None:
    """A row a length; beside the amount its controls, where there are some."""
    slopes = [""] + [f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]" for s in found.fit.local_slopes]
    names = [_unit(found), "I(n;n), nats", "interval", "local slope"]
    columns = [
        [f"{n}" for n in found.curve.lengths.tolist()],
        [f"{e.value:.4g}" for e in found.interval],
        [f"{e.low:.4g} .. {e.high:.4g}" for e in found.interval],
        slopes,
    ]
    if found.compression:
        names += ["words shuffled", "another document"]
        for control in (found.compression.words, found.compression.learnt):
            columns.append([f"{value:.4g}" for value in control.mean()])
    if found.other is not None:
        names.append("other recordings")
        columns.append([f"{value:.4g}" for value in found.other])
    table(names, [list(row) for row in zip(*columns, strict=True)])


def _primed(found: "Measurement") -> str:
    """How much the coder had read, and whether that was enough."""
    assert found.compression is not None
    sizes = ", ".join(f"{nats:.4g} after {tokens:,}" for tokens, nats in sorted(found.compression.plateau.items()))
    words, order = (curve.mean()[-1] for curve in (found.compression.words, found.compression.ordered))
    share = (
        f"At the longest n shuffled words tell {max(0.0, words / (words + order)):.0%} of it. "
        if words + order > 0
        else ""
    )
    return (
        f"Coder: {found.compression.bits:.2f} bits a token at the longest n; nats there by the tokens it had read of "
        f"other documents, in {found.compression.words.nats.shape[0]} {found.curve.unit}: {sizes}. {share}"
        "Words shuffled: what vocabulary tells without order. Another document: what its X saves of Y's code, language "
        "that was not known yet."
    )


def _unit(found: "Measurement") -> str:
    return "n, time steps" if found.curve.estimator == "gaussian" else "n, tokens"


def print_compared(found: "list[Measurement]") -> None:
    """One line for each estimator and model."""
    table(
        ["estimator", "vocabulary", "beta", "law", "longest n", "I(n;n) there", "loss at the end"],
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
        "n counts tokens (gaussian: time steps): rows of unequal vocabularies read other tokens, and their n and nats "
        "are not the same. "
        "Models differ by what they can use: the better one (lower loss, in the same tokens) is nearer to the data. "
        "Compression sees what n-grams see; direct and vclub share a term and do not confirm each other."
    )


def print_two_point(pairs: "TwoPoint") -> None:
    """Information of single tokens at a distance."""
    table(
        ["distance d", "I2(d), nats", "interval"],
        [
            [f"{d}", f"{e.value:.3g}", f"{e.low:.3g} .. {e.high:.3g}"]
            for d, e in zip(pairs.curve.lengths.tolist(), pairs.interval, strict=True)
        ],
    )
    decay = f"I2(d) = {pairs.prefactor:.3g} d^-alpha {pairs.constant:+.3g}, alpha = {pairs.alpha}"
    say(
        decay if pairs.alpha else "no decay above the noise",
        "Two-point information says how single tokens depend, and nothing about beta.",
    )
