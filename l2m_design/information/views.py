"""Several estimates of one corpus: which of them the requirement is taken from.

On sources whose answer is known, n-grams find 6 to 46% too much and a trained model too little (docs/lab-book.md), and
neither sees what the other does not look for. A state is required to hold at least what the data share, so of the views
in the same tokens the one that finds most is taken, as the upper end of an interval is. Where shuffled words explain
what compression found, no model's amount counts: it would be vocabulary too.
"""

from collections.abc import Sequence

from l2m_design.information.measure import Measurement


def deciding(views: Sequence[Measurement]) -> tuple[int, str]:
    """The number of the view that the requirement is taken from, and why. Those in the first one's tokens compete."""
    first = views[0]
    rivals = [i for i, view in enumerate(views) if _tokens(view) == _tokens(first)]
    for i in rivals:
        if views[i].explained_by == "vocabulary":
            return i, f"none, since what {views[i].curve.estimator} found comes from vocabulary, not from word order"
    able = [i for i in rivals if views[i].required is not None and not _overstates(views[i])]
    if not able:
        return 0, "none, since no estimate has a law that states a requirement"
    if len(able) == 1:
        return able[0], f"{views[able[0]].curve.estimator}, the only one with a requirement in these tokens"
    at = min(int(views[i].curve.lengths[-1]) for i in able)
    amounts = {i: law.at(at).value for i in able if (law := views[i].required)}
    chosen = max(able, key=lambda i: amounts[i])
    others = ", ".join(f"{amounts[i]:.3g} by {views[i].curve.estimator}" for i in able if i != chosen)
    return chosen, (
        f"{views[chosen].curve.estimator}, which finds the most information at n = {at} ({amounts[chosen]:.3g} nats, "
        f"against {others})"
    )


def _overstates(view: Measurement) -> bool:
    """vCLUB's bound is from above."""
    return view.curve.estimator.startswith("vclub")


def _tokens(view: Measurement) -> tuple[int, bool]:
    """What n counts: tokens of a vocabulary, or time steps."""
    return view.vocabulary, view.curve.estimator == "gaussian"
