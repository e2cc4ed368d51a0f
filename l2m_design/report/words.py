"""Words: a study's outcome in sentences, the same on the terminal and on the page."""

from typing import Any

from l2m_design.condition import REACH_LIMIT

MARKS = {True: "met", False: "not met", None: "not judged"}


def size(count: float) -> str:
    """Bytes in words: 512 B, 3.1 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError


def tokens(count: int | None) -> str:
    """A reach in words."""
    return f"no end up to {REACH_LIMIT:,} tokens" if count is None else f"{count:,} tokens"


def estimate(plain: dict[str, float] | None, sign: bool = False) -> str:
    """value [low, high]."""
    if plain is None:
        return "-"
    form = "+.3f" if sign else ".3f"
    return f"{plain['value']:{form}} [{plain['low']:{form}}, {plain['high']:{form}}]"


def trial(record: Any) -> str:
    """One line about a finished trial."""
    name = f"trial {record.number} {record.picture}" + (f" ({record.design})" if record.design else "")
    if record.copy_of is not None:
        return f"{name}: drawn before, as trial {record.copy_of}"
    if record.late_loss is None:
        return f"{name}: {record.state}: {record.reason}"
    rate = f", learning rate x {record.rate:g}" if record.rate != 1 else ""
    held = size(record.state_bytes)
    return f"{name}: late loss {record.late_loss:.3f}, state {held}, objective {record.value:.3f}{rate}"


def constant(terms: dict[str, Any], kinds: tuple[str, ...] | None = None) -> str:
    """What an element is taken to hold, and on what ground; of `kinds` alone where they are given."""
    own = {kind: nats for kind, nats in terms.get("nats_by_kind", {}).items() if kinds is None or kind in kinds}
    if not own:
        return f"{terms['nats_per_element']:g} nats (assumed)"
    listed = ", ".join(f"{nats:.3g} nats in {kind}" for kind, nats in own.items())
    return f"{listed} (measured by kind on a known source), {terms['nats_per_element']:g} elsewhere (assumed)"


def outcome(summary: dict[str, Any]) -> list[str]:
    """What a study found, in a few sentences."""
    chosen, terms, choice = summary["chosen"], summary["demand"]["terms"], summary["choice"]
    if chosen is None:
        return [_demand(summary), *choice["said"]]
    said = [_demand(summary), _answer(summary), *choice["said"]]
    reference = next((row for row in summary["baselines"] if row["design"] == "all attention" and row["loss"]), None)
    if reference and chosen["difference"] and chosen["design"] != "all attention":
        saved = reference["state_bytes"] / chosen["state_bytes"]
        seeds = chosen.get("seeds", 1)
        over = f"documents and {seeds} seeds" if seeds > 1 else "documents; one seed"
        said.append(
            "Against full attention of the same size, trained alike: "
            f"{estimate(chosen['difference'], sign=True)} nats a token on test documents (paired; the interval is over "
            f"{over}), with {saved:.3g} times less state."
        )
        if chosen["difference"]["high"] > choice["delta"]:
            said.append(
                f"The test documents do not confirm that it is within {choice['delta']:g}: it was chosen on validation "
                "documents, and who is chosen from many looks better there than it is."
            )
    if summary["demand"]["has_level"]:
        said.append(
            f"Coverage, if an element holds {constant(terms)}: "
            f"{tokens(chosen['reach_tokens']['effective'])}; by the hard bound: "
            f"{tokens(chosen['reach_tokens']['hard'])}."
        )
    return said


def _answer(summary: dict[str, Any]) -> str:
    """The answer in one sentence."""
    chosen, terms, choice = summary["chosen"], summary["demand"]["terms"], summary["choice"]
    trial = f"trial {chosen['trial']}" if chosen["trial"] is not None else "a design of the study"
    name = f"{trial}, the known design '{chosen['design']}'" if chosen["design"] else trial
    return (
        f"Chosen: {chosen['picture']} ({name}), the smallest state of all {choice['among']} that meet the L²M "
        f"condition and are within {choice['delta']:g} nats a token of full attention: {size(chosen['state_bytes'])} "
        f"at {terms['length']:,} tokens, growing as t^{chosen['growth_exponent']:.2f}, late loss {chosen['loss']:.3f}."
    )


def _demand(summary: dict[str, Any]) -> str:
    demand = summary["demand"]
    terms, measurement = demand["terms"], demand["measurement"]
    end = {
        "upper": "the upper end of its interval",
        "value": "its value",
        "lower": "the lower end of its interval",
    }
    if measurement is None:
        start = f"The exponent was given: beta {demand['law']['exponent']:.3g}"
    else:
        start = f"{summary['corpus']['name']} by {measurement['estimator']}: beta {estimate(measurement['beta'])}"
    return f"{start}; asked of every candidate is t^{demand['exponent']:.3f}, {end[terms['end']]}."


def _ground(terms: dict[str, Any]) -> str:
    """Where the constant comes from."""
    by_kind = terms.get("nats_by_kind", {})
    assumed = f"{terms['nats_per_element']:g} nats per state element, is an assumption (condition.nats_per_element)."
    if not by_kind:
        return f"The constant, {assumed}"
    listed = ", ".join(f"{kind} {nats:.3g}" for kind, nats in by_kind.items())
    return (
        f"The constant was measured by kind of layer (condition.nats_by_kind, nats per state element: {listed}), in "
        "small models on a source with a known answer: on other data it is an assumption too. "
        f"For all else the constant, {assumed}"
    )


def _finalists_said(summary: dict[str, Any]) -> list[str]:
    asked = summary["settings"]["finalists"]
    if not summary["finalists"]:
        return []
    tokens_ = f"{asked['tokens']:,} tokens" if asked["tokens"] else "four times the tokens"
    return [
        f"Finalists were trained longer ({tokens_}) with {asked['seeds']} seeds, the best of {len(asked['rates'])} "
        "learning rates each. They were picked by the same validation documents on which they are chosen; test "
        "documents were never looked at to choose."
    ]


def caveats(summary: dict[str, Any]) -> list[str]:
    """What every verdict must say aloud."""
    terms, recipe = summary["demand"]["terms"], summary["settings"]["recipe"]
    rates = summary["settings"]["search"]["rates"]
    said = [
        f"The condition fixes a rate of growth. {_ground(terms)}",
        "Covering the target length and growing fast enough without end are two questions: the tables answer both.",
        f"Growth is judged at beta's {terms['end']} end (condition.end). The condition is necessary, not sufficient.",
        f"Each candidate read {recipe['tokens']:,} tokens in windows of {recipe['length']:,}, with "
        + ("one learning rate" if len(rates) == 1 else f"one of {len(rates)} learning rates (known designs with each)")
        + " and one seed: losses order candidates at this budget, and long training may order them otherwise.",
        *_finalists_said(summary),
    ]
    measurement = summary["demand"]["measurement"]
    if measurement and 2 * measurement["lengths"][-1] < terms["length"]:
        slopes = [slope for slope in measurement["local_slopes"] if slope]
        said.append(
            f"The law was measured on contexts up to {2 * measurement['lengths'][-1]:,} tokens (last local slope "
            f"{estimate(slopes[-1] if slopes else None)}); to {terms['length']:,} it is extrapolated."
        )
    if measurement and measurement["resampled"] == "windows":
        said.append("Too few documents to resample: beta's interval is one for these documents, not for their kind.")
    said.append(
        "Known designs take the largest sizes on offer (kv_heads, d_state, window); all state elements are counted in "
        f"{terms['dtype']}, though runtimes may hold recurrent states in float32."
    )
    if measurement and measurement["estimator"] == "compression":
        said.append(
            "Compression counts the cost of learning the language: it over-states the amount of information, "
            "and its exponent is an upper bound of the source's."
        )
    return said
