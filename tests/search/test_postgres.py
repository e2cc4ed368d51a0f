"""A study in PostgreSQL: a server of the tests' own, stopped and started again under it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2m_design.errors import BadInput
from l2m_design.search.study.database import Database

PASSWORD = "s3cret"
BINARIES = next((p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)), None)


class Server:
    """A throwaway server; root may not run one, so that another user does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        self.url = f"postgresql://l2m:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        self._run("initdb", "-U", "l2m", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync")
        self.start()

    def start(self) -> None:
        listen = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", listen, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def _run(self, program: str, *words: str) -> None:
        assert BINARIES is not None
        ask = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*ask, str(BINARIES / program), "-D", str(self.folder / "data"), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd="/")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if BINARIES is None:
        pytest.skip("no /usr/lib/postgresql/*/bin here: apt install postgresql")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="l2m-postgres-"))
    made = Server(folder)
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.mark.parametrize("outage", [10.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_a_killed_driver_and_a_lost_server_cost_no_trial(
    server: Server, study: Path, start, kept, exactly_once, until, outage: float
) -> None:
    name = f"out{outage:.0f}"
    (study.parent / "study.yaml").write_text(
        study.read_text().replace("tokens: 2048", "tokens: 32768").replace("name: tiny", f"name: {name}")
        + f"storage: {server.url}\n"
    )
    words = ("search", "study.yaml", "--tracking", "sqlite:///mlflow.db", "--set", "workers=2")
    first = start(*words)
    until(lambda: kept(server.url, name).records)
    first.kill()
    before = kept(server.url, name).records
    search = start(*words, "--resume")
    until(lambda: len(kept(server.url, name).records) > len(before))
    server.stop()
    time.sleep(outage)
    server.start()
    assert search.process.wait(240) == 0, search.said
    after = kept(server.url, name).records
    assert before.items() <= after.items()
    exactly_once(server.url, 8, name)
    assert search.said.count("retrying for 900 s") == 1, search.said
    assert search.said.count("reachable again after") == 1, search.said
    assert PASSWORD not in first.said + search.said
    assert PASSWORD not in (study.parent / "reports" / name / "study.json").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((PASSWORD, "wr0ng"), "password authentication failed"),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_refuses_is_one_line_without_the_password(server: Server, change, words: str) -> None:
    url = server.url[::-1].replace(change[0][::-1], change[1][::-1], 1)[::-1]
    with pytest.raises(BadInput, match=words) as refused:
        Database(url)
    assert change[1] == "/nowhere" or change[1] not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_name_with_another_space_is_refused_and_fresh_moves_it_aside(server: Server, opened, kept) -> None:
    ask = (f"storage={server.url}", "search.trials=1", "search.known_designs=false", "name=moved")
    opened(*ask).run()
    texts = kept(server.url, "moved").records
    elsewhere = opened(*ask, "space.tolerance=0.2")
    with pytest.raises(BadInput, match="moved"):
        elsewhere.run()
    shutil.rmtree(elsewhere.folder.path)
    with pytest.raises(BadInput, match=r"exists with other settings \(space.tolerance: 0.1 -> 0.2\)") as refused:
        opened(*ask, "space.tolerance=0.2").run()
    assert PASSWORD not in str(refused.value)
    opened(*ask, "space.tolerance=0.2").run(fresh=True)
    assert kept(server.url, "moved.1").records == texts
    assert len(kept(server.url, "moved").records) == 1
