"""MLflow's own UI in a real browser: a study's runs, its description and the columns of its saved view."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from l2m_design.library.resend import resend
from tests.browser.conftest import REPORTS

pytestmark = pytest.mark.integration
SECONDS = 120  # that the server may take to start


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def parent_of(folder: Path) -> str:
    """The identifier of the study's own run."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("l2m-design/quickstart").experiment_id
    (found,) = client.search_runs([experiment], "attributes.run_name = 'quickstart'")
    return str(found.info.run_id)


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, str]]:
    """A page of the browser, the address of the table of runs that the command prints, and the study's own run."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    uri, address, _ = resend(REPORTS / "quickstart", tracking=f"sqlite:///{folder}/mlflow.db", runs=folder / "runs")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    log = folder / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder)
    page = browser.new_page(viewport={"width": 1900, "height": 1000})
    try:
        for _ in range(SECONDS * 2):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        else:
            raise AssertionError(log.read_text()[-2000:])
        assert address is not None
        yield page, urlsplit(address)._replace(netloc=f"127.0.0.1:{port}").geturl(), parent_of(folder)
    finally:
        page.close()
        server.terminate()
        server.wait(30)


def test_the_printed_address_opens_the_trials_with_their_columns(shown: tuple[Any, str, str]) -> None:
    page, address, _ = shown
    page.goto(address)
    page.get_by_text("W W W A · 8.29 MiB").first.wait_for(timeout=60_000)
    text = page.inner_text("body")
    assert "L²M: trials" in text
    for column in ("objective", "late_loss", "parameters", "growth_expone"):
        assert column in text, column
    assert "Samba-like" in text  # a baseline, by its name


def test_the_study_is_the_parent_of_its_trials_and_says_the_answer(shown: tuple[Any, str, str]) -> None:
    page, address, parent = shown
    page.goto(f"{address.partition('?')[0]}/{parent}")
    page.get_by_text("Chosen: W W W A (trial 10)").first.wait_for(timeout=60_000)
    assert "8.29 MiB of state at 65,536 tokens" in page.inner_text("body")
