"""Sizes in words; a file of its own, since advice needs no more of the words."""


def size(count: float) -> str:
    """Bytes in words: 512 B, 3.1 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError
