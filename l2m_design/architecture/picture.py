"""The picture of a model, one letter per layer, in a line of bearable length."""

from collections.abc import Sequence

SHOWN_LETTERS, LONGEST_PERIOD = 16, 64


def folded(letters: Sequence[str]) -> str:
    """Letters with spaces between; a long pattern that repeats is written once: 12 x (D D D A)."""
    if len(letters) <= SHOWN_LETTERS:
        return " ".join(letters)
    for period in range(1, min(LONGEST_PERIOD, len(letters) // 2) + 1):
        if all(letter == letters[index % period] for index, letter in enumerate(letters)):
            times, rest = divmod(len(letters), period)
            once = " ".join(letters[:period])
            return " ".join([f"{times} x {once if period == 1 else f'({once})'}", *letters[:rest]])
    return " ".join(letters)
