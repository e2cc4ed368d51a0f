"""Scores by a running OpenAI-compatible server that returns the log-probabilities of a prompt's tokens (vLLM)."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_design.errors import BadInput, WorkFailed
from l2m_design.estimates import Floats
from l2m_design.information.scores.base import nats_after_plainly
from l2m_design.settings import Json

TRIES = 4
PAUSE = 1.0
TIMEOUT = 600.0


class ServerScorer:
    """POST {url}/completions with token ids and `prompt_logprobs`, the vLLM form; the answer's text is not used.

    url: up to and including /v1. model: a name that the server knows, or None when it serves one. start: the token
    put before every window; without one the first token is scored by a unigram law, first [v_] nats.
    $OPENAI_API_KEY is sent when it is set.
    """

    exact = False

    batch_tokens = 16384

    def __init__(self, url: str, model: str | None, start: int | None, first: Floats) -> None:
        self._url = url.rstrip("/")
        self._start = start
        self._first = first
        served = self._call("/models").get("data")
        served = [entry for entry in served if isinstance(entry, dict)] if isinstance(served, list) else []
        names = [str(entry.get("id")) for entry in served]
        if model is None and len(names) != 1:
            raise BadInput(f"{url}: serves {len(names)} models ({', '.join(names[:5])}); choose one as {url}#MODEL")
        if model is not None and model not in names:
            raise BadInput(f"{url}: does not serve '{model}'; it serves {', '.join(names[:5]) or 'nothing'}")
        self._model = model or names[0]
        entry = next(entry for entry in served if entry.get("id") == self._model)
        limit = entry.get("max_model_len")
        # one place is the start token's, one that of the token which a server insists on generating
        self.context = limit - 1 - int(start is not None) if isinstance(limit, int) else None
        self.name = f"{self._model} at {self._url}"
        self.fingerprint = f"server {self._url} {self._model} start {start}"

    def nats(self, tokens: NDArray[np.int64]) -> Floats:
        """[b t] nats. Raises WorkFailed when the server stays away, BadInput when it gives no log-probabilities."""
        prompts = tokens.tolist()
        if self._start is not None:
            prompts = [[self._start, *row] for row in prompts]
        body = {"model": self._model, "prompt": prompts, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        choices = self._call("/completions", body).get("choices")
        if not isinstance(choices, list) or len(choices) != len(prompts):
            raise BadInput(
                f"{self.name}: {len(prompts)} prompts were sent, but the answer has another number of choices"
            )
        result = np.empty(tokens.shape)
        for row, choice in _in_order(choices, self.name):
            logs = self._logs(choice.get("prompt_logprobs"), prompts[row])
            if self._start is None:
                logs[0] = -self._first[tokens[row, 0]]
            result[row] = -np.array(logs[int(self._start is not None) :])
        return result

    def nats_after(self, past: NDArray[np.int64], tokens: list[NDArray[np.int64]], cuts: list[int]) -> list[Floats]:
        """[b t] nats behind each cut of the past (servers with a prefix cache compute it once)."""
        return nats_after_plainly(self, past, tokens, cuts)

    def _logs(self, answer: Any, prompt: list[int]) -> list[float]:
        """[prompt] log-probabilities; the first one, which no server knows, is 0."""
        if not isinstance(answer, list) or len(answer) != len(prompt):
            raise BadInput(
                f"{self.name}: the answer has no prompt_logprobs with one value per token; vLLM returns them, other "
                "servers may not"
            )
        logs = [0.0]
        for place, (token, known) in enumerate(zip(prompt[1:], answer[1:], strict=True), start=1):
            entry = known.get(str(token)) if isinstance(known, dict) else None
            value = entry.get("logprob") if isinstance(entry, dict) else entry
            if not isinstance(value, int | float):
                raise BadInput(f"{self.name}: no log-probability of token {token} at position {place} of a prompt")
            logs.append(float(value))
        return logs

    def _call(self, path: str, body: Json | None = None) -> dict[str, Any]:
        """The JSON object that the server answers; a request to an unreachable or busy server is sent TRIES times."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._url + path, data=data, headers=headers)  # noqa: S310 - http(s) only
        reason = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE * attempt)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                    found = json.loads(answer.read())
                if isinstance(found, dict):
                    return found
                raise BadInput(f"{self._url}{path}: the answer must be a JSON object")
            except urllib.error.HTTPError as error:
                text = error.read()[:300].decode("utf-8", "replace")
                if error.code < 500 and error.code != 429:
                    raise BadInput(f"{self._url}{path}: HTTP {error.code}: {text}") from None
                reason = f"HTTP {error.code}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            except ValueError:
                raise BadInput(f"{self._url}{path}: the answer is not JSON") from None
        raise WorkFailed(f"{self._url}{path}: no answer after {TRIES} tries ({reason})")


def _in_order(choices: list[Any], name: str) -> list[tuple[int, dict[str, Any]]]:
    """Each choice with the row that it answers: by its index, or by its place where none has one."""
    if not all(isinstance(choice, dict) for choice in choices):
        raise BadInput(f"{name}: each choice of an answer must be an object")
    rows = [choice.get("index") for choice in choices]
    rows = list(range(len(choices))) if all(row is None for row in rows) else rows
    if sorted(row if isinstance(row, int) else -1 for row in rows) != list(range(len(choices))):
        raise BadInput(f"{name}: the choices of an answer have the indices {rows}; there must be one for each prompt")
    return list(zip(rows, choices, strict=True))
