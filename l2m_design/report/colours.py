"""Colours of all figures and of the page: each contrasts at least 3 to 1 with white and with dark paper."""

INK, GREY = "#1c2733", "#7c8794"
GOOD, DATA, BAD, ALSO = "#1a936f", "#2b7fd0", "#c8503c", "#b8721d"
LINES = [
    GOOD,
    DATA,
    ALSO,
    "#8e5bd0",
    "#cc4b8f",
    "#178f9b",
    BAD,
    "#7d8b1e",
    "#5a6fe0",
    "#9c6b50",
    "#3d8f3d",
    "#6b7a8a",
]
SIDES = (DATA, ALSO)  # of two studies that are compared
ASIDE = (0.97, 1.03)  # times their state: where intervals of the two would hide each other
DASHES = ("solid", "dash", "dot")  # of a design that must share its colour

# by the letter of a layer: its mixer type in words, and its colour
MIXERS = {
    "A": ("attention", DATA),
    "W": ("window", "#178f9b"),
    "L": ("latent attention", "#5a6fe0"),
    "S": ("sparse attention", ALSO),
    "M": ("Mamba-2", "#8e5bd0"),
    "1": ("Mamba-1", "#cc4b8f"),
    "D": ("gated DeltaNet", BAD),
    "F": ("log-linear", "#3d8f3d"),
    "C": ("checkpointed state space", "#7d8b1e"),
}
