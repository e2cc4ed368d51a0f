"""A language model behind a server: prompts are scored over HTTP, whatever is wrong or goes away is named."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from l2m_design.corpus import open_corpus
from l2m_design.errors import BadInput, WorkFailed
from l2m_design.information import MeasurementSettings, measure
from l2m_design.information.scores import server as server_module
from l2m_design.information.scores.server import ServerScorer
from l2m_design.measuring.scorer import Scoring, open_scores


def settings(**others: Any) -> MeasurementSettings:
    return MeasurementSettings(estimator="profile", shortest=8, windows=40, replicates=100, **others)


class Handler(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that gives every token id the log-probability -id/100."""

    lasts = 10**9
    without = False
    order = "reversed"

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "tiny", "max_model_len": 600}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.lasts -= 1
        if Handler.lasts < 0:
            self.send_error(503)
            return
        assert body["prompt_logprobs"] == 0
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            logs: list[Any] = [None] + [{str(token): {"logprob": -token / 100, "rank": 1}} for token in prompt[1:]]
            choices.append({"index": index, "text": "", "prompt_logprobs": None if Handler.without else logs})
        if Handler.order == "reversed":
            choices.reverse()
        for choice in choices:
            if Handler.order == "unnumbered":
                del choice["index"]
            elif Handler.order == "all first":
                choice["index"] = 0
        self._answer({"choices": choices})

    def _answer(self, data: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(server_module, "PAUSE", 0.0)
    Handler.lasts, Handler.without, Handler.order = 10**9, False, "reversed"
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}/v1"
    running.shutdown()
    running.server_close()


def test_a_server_scores_prompts(server: str) -> None:
    first = np.arange(256) / 7.0
    tokens = np.random.default_rng(0).integers(0, 256, (3, 10))
    exact = tokens / 100
    np.testing.assert_allclose(ServerScorer(server, None, 1, first).nats(tokens), exact)
    exact[:, 0] = first[tokens[:, 0]]
    alone = ServerScorer(server, "tiny", None, first)
    np.testing.assert_allclose(alone.nats(tokens), exact)
    assert alone.context == 599
    Handler.order = "unnumbered"
    np.testing.assert_allclose(alone.nats(tokens), exact)
    Handler.order = "all first"
    with pytest.raises(BadInput, match=r"have the indices \[0, 0, 0\]; there must be one for each prompt"):
        alone.nats(tokens)


def test_a_server_that_goes_away_leaves_what_it_scored(server: str, text_folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match="give the tokenizer of its model"),
        open_scores(open_corpus(str(text_folder)), settings(), server),
    ):
        pass
    corpus, table = open_corpus(str(text_folder), tokenizer="bytes"), tmp_path / "x.parquet"
    asked = settings(longest=128)

    def run() -> Any:
        with open_scores(corpus, asked, server, scoring=Scoring(table=table)) as scores:
            return measure(corpus, asked, scores), scores.tokens_scored

    Handler.lasts = 3
    with pytest.raises(WorkFailed, match=r"after 4 tries \(HTTP 503\); [\d,]+ tokens .* are saved in .*x.parquet"):
        run()
    kept = len(pyarrow.parquet.read_table(table))
    assert kept > 0
    Handler.lasts = 10**9
    found, scored = run()
    assert scored < found.tokens_scored
    again, nothing = run()
    assert nothing == 0
    np.testing.assert_allclose(found.curve.nats, again.curve.nats, atol=1e-4)


def test_a_wrong_server_is_named(server: str) -> None:
    with pytest.raises(BadInput, match="does not serve 'other'; it serves tiny"):
        ServerScorer(server, "other", None, np.zeros(256))
    with pytest.raises(WorkFailed, match="no answer after 4 tries"):
        ServerScorer("http://127.0.0.1:9/v1", None, None, np.zeros(256))


def test_a_server_without_prompt_log_probabilities_is_bad_input(server: str) -> None:
    Handler.without = True
    with pytest.raises(BadInput, match="has no prompt_logprobs"):
        ServerScorer(server, None, None, np.zeros(256)).nats(np.array([[1, 2, 3]]))
