"""Workers that meet in PostgreSQL: a server of the tests' own, stopped and started again under them."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2m_design.errors import BadInput
from l2m_design.search.study.storage import Storage

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


def test_workers_that_open_an_empty_database_at_once_all_find_it(server: Server) -> None:
    troubles: list[BaseException] = []

    def look() -> None:
        try:
            Storage(server.url).get_all_studies()
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


@pytest.mark.parametrize("outage", [10.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_a_killed_worker_and_a_lost_server_cost_no_trial(
    server: Server, study: Path, start, kept, exactly_once, until, outage: float
) -> None:
    (study.parent / "study.yaml").write_text(
        study.read_text().replace("tokens: 2048", "tokens: 65536").replace("name: tiny", f"name: out{outage:.0f}")
        + f"storage: {server.url}\ngrace_seconds: 6\n"
    )
    name = f"out{outage:.0f}"
    search = start("search", "study.yaml", "--tracking", "sqlite:///mlflow.db", "--set", "search.trials=10")
    until(lambda: kept(server.url, name).states)
    joined = [
        start("worker", "--study", name, "--storage", server.url, "--threads", "1", "--runs", f"w{index}")
        for index in range(3)
    ]
    until(lambda: all(kept(server.url, name).knows(worker.process.pid) for worker in joined))
    until(lambda: kept(server.url, name).held_by(joined[0].process.pid))
    joined[0].kill()
    killed = time.monotonic()
    before = len(kept(server.url, name).records)
    assert before < 8
    until(lambda: len(kept(server.url, name).records) > before)
    server.stop()
    time.sleep(outage)
    server.start()
    until(lambda: kept(server.url, name).attempts)
    print(f"taken again {time.monotonic() - killed:.1f} s after the kill, {outage:.0f} of them without a server")
    assert search.process.wait(240) == 0, search.said
    for worker in joined[1:]:
        assert worker.process.wait(60) == 0, worker.said
    exactly_once(server.url, 10, name)
    again = list(kept(server.url, name).attempts.values())
    assert again == [2]  # what the killed one held, once; nothing of the living
    for one in (search, *joined[1:]):
        assert one.said.count("asked again for 900 s") == 1, one.said
        assert one.said.count("back after") == 1, one.said
    assert PASSWORD not in "".join(one.said for one in (search, *joined))
    weights = [path.stem for path in study.parent.rglob("weights/*.safetensors")]
    assert len(weights) == len(set(weights))
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
        Storage(url)
    assert change[1] == "/nowhere" or change[1] not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_name_with_another_space_is_refused_and_fresh_moves_it_aside(server: Server, opened, kept) -> None:
    ask = (f"storage={server.url}", "search.trials=1", "name=moved")
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
