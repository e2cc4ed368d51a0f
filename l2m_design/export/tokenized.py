"""The other side of a tokenizer's proof: an exported folder as a stranger loads it, run as a program of its own."""

import json
import sys
from typing import TypedDict


class Found(TypedDict):
    """What AutoTokenizer loads from a folder, as JSON: tokens of a text without special ones, tokens of a plain call,
    the tokens' text, and numbers of its special tokens.
    """

    tokens: list[int]
    plain: list[int]
    text: str
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None


def examine(folder: str, text: str, own_code: bool) -> Found:
    """What AutoTokenizer loads from a folder: tokens of a text, their text, numbers of its special tokens or None.

    tokens: without special ones; plain: as a call gives them. own_code: may the code in the folder run?
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=own_code)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return {
        "tokens": tokens,
        "plain": tokenizer(text)["input_ids"],
        "text": tokenizer.decode(tokens),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def main(folder: str, text: str, own_code: bool) -> None:
    """Print what was found as the last line, JSON."""
    sys.modules["l2m_design"] = None  # type: ignore[assignment]
    print(json.dumps(examine(folder, text, own_code)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "own-code")
