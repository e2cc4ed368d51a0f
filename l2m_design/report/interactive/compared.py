"""The figure of two studies: late loss against state, one colour per study."""

from collections.abc import Mapping, Sequence

from l2m_design.estimates import Estimate
from l2m_design.report.colours import ASIDE, SIDES
from l2m_design.report.designs import Design
from l2m_design.report.interactive.parts import axis, bars, hover, size_axis, trace
from l2m_design.report.words import estimate, size
from l2m_design.settings import Json


def front(points: Mapping[str, Sequence[tuple[Design, Estimate]]]) -> Json:
    """Late loss on test documents against state bytes at each study's target, with 95% intervals."""
    traces, sizes = [], [1.0]
    for (study, rows), colour, aside in zip(points.items(), SIDES, ASIDE, strict=True):
        if not rows:
            continue
        sizes += [design.state_bytes for design, _ in rows]
        said = [
            hover(
                f"{study}: {design.label}",
                f"layers {design.architecture.picture}",
                f"state {size(design.state_bytes)}",
                f"late loss {estimate(found)}",
            )
            for design, found in rows
        ]
        ends = [[getattr(found, end) for _, found in rows] for end in ("low", "value", "high")]
        look = {"color": colour, "size": [14 if design.chosen else 8 for design, _ in rows]}
        traces.append(
            trace(study, [design.state_bytes * aside for design, _ in rows], ends[1], said, mode="markers", marker=look,
                  error_y=bars(*ends) | {"color": colour}, meta={"symbol": "circle"})
        )  # fmt: skip
    known = sizes[1:] or sizes
    return {
        "traces": traces,
        "layout": {
            "xaxis": size_axis("state at the target length", min(known), max(known)),
            "yaxis": axis("late loss, nats per token"),
        },
    }
