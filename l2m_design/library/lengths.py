"""Context lengths as users write them: 4k,32k,1M or plain integers."""

import re

UNITS = {"": 1, "k": 1024, "m": 1024**2}
SHORTEST = 4


def parse_length(text: str, name: str = "length") -> int:
    """Parse one length, 131072 or 128k; k = 1024, M = 1024². Raises BadInput, which names the setting."""
    from l2m_design.errors import BadInput

    number = re.fullmatch(r"(-?[0-9]{1,12})([kKmM]?)", text.strip())
    if number is None:
        raise BadInput(f"`{name}`: found '{text.strip()[:40]}'; must be a length such as 4096, 32k or 1M")
    return int(number[1]) * UNITS[number[2].lower()]


def parse_lengths(text: str) -> list[int]:
    """Parse several lengths; k = 1024, M = 1024². Return each once, in increasing order. Raises BadInput."""
    from l2m_design.errors import BadInput
    from l2m_design.terms import REACH_LIMIT

    found = set()
    for word in text.split(","):
        number = re.fullmatch(r"([0-9]{1,12})([kKmM]?)", word.strip())
        if number is None:
            raise BadInput(f"`lengths`: found '{word.strip()[:40]}'; must be lengths such as 4096, 32k or 1M")
        length = int(number[1]) * UNITS[number[2].lower()]
        if not SHORTEST <= length <= REACH_LIMIT:
            raise BadInput(f"`lengths`: found {word.strip()}; allowed: {SHORTEST} to {REACH_LIMIT:,} tokens")
        found.add(length)
    return sorted(found)
