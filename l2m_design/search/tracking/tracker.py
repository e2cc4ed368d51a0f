"""The tracker: sends a study and its trials to MLflow, while they run and when they end.

A failure of tracking never fails a trial: what could not be sent is sent by a later call. Tags of a run name its study
and its trial. A run that an ended process left incomplete is found by its tags and completed.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from l2m_design.search.folder import read_kept
from l2m_design.search.pause import Pause, within
from l2m_design.search.record import Record
from l2m_design.search.results.finalists import FinalRun
from l2m_design.search.tracking import store
from l2m_design.search.tracking.content import (
    DESIGN,
    RUNNING,
    Content,
    Shown,
    finalist_key,
    of_design,
    of_finalist,
    of_trial,
)
from l2m_design.search.tracking.live import Live, Pace, System
from l2m_design.search.tracking.runs import PARENT, RUN, STUDY, Made, Runs, Seen
from l2m_design.settings import to_json, to_yaml, write_atomically

OWED = "owed "
NOTE, CHOSEN = "mlflow.note.content", "chosen"  # tags: the description of a run; of the chosen architecture
LONGEST_DIGEST = 36


@dataclass(frozen=True)
class StudyRun:
    """What a study's own run shows from its start. corpus: name, fingerprint and the words that open it; tags: those of
    every run, as its source; views: tags of its experiment; seconds: that it took before it is sent.
    """

    name: str
    params: Mapping[str, object] = field(default_factory=dict)
    corpus: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Tracker:
    """Sends records to MLflow once each; remembers in `ledger` (a JSON file) what was sent, store by store.

    identity: what tells the study from all others, whatever their names; a new one where none is given. system: are
    running trials on this machine, so that its load is theirs?
    """

    def __init__(
        self,
        uri: str,
        study: StudyRun,
        shown: Shown,
        ledger: Path,
        identity: str | None = None,
        *,
        system: bool = False,
    ) -> None:
        self.uri = uri
        self._study, self._shown, self._ledger = study, shown, ledger
        self._runs = Runs(uri, study.name, identity or secrets.token_hex(8), study.views)
        self._ledgers: dict[str, dict[str, str]] = read_kept(ledger)
        self._sent = self._ledgers.setdefault(uri, {})
        self._parent_run: Seen | None = None
        self._live: dict[str, Live] = {}
        self._pace, self._system = Pace(), System() if system else None
        self._store, self._artifacts = Pause(), Pause()
        self.page: str | None = None  # where a browser finds the runs, once the study is published

    @property
    def trouble(self) -> str | None:
        """Why runs were not sent, in one line."""
        return self._store.trouble

    @property
    def notes(self) -> list[str]:
        """A line for each thing that could not be sent."""
        said = []
        if self.trouble:
            said.append(f"tracking: {self.trouble}; the next search of this study sends the runs that are missing")
        if self._artifacts.trouble:
            said.append(
                f"tracking: artifacts could not be stored ({self._artifacts.trouble}); params and metrics are not "
                "affected, and the next search of this study sends the artifacts again"
            )
        return said

    def sync(self, records: Iterable[Record], runs: Iterable[FinalRun] = (), last: bool = False) -> None:
        """Send every trial and every finalist's run not sent before.

        Never raises: `trouble` says in one line what went wrong. A store that failed is left alone for a while, unless
        this is the last call. Artifacts have a pause of their own.
        """
        contents = [(str(record.number), partial(of_trial, record, self._shown)) for record in records]
        contents += [
            (finalist_key(run), partial(of_finalist, run, self._shown))
            for run in runs
            if run.job.fingerprint not in self._sent  # by an earlier version
        ]
        self.send(contents, last)

    def send(self, contents: Iterable[tuple[str, Callable[[], Content]]], last: bool = False) -> None:
        """Send every run, by its key, not sent before; as `sync` does."""
        if last:
            self._store.end()
            self._artifacts.end()
        self._try(lambda: self._send_all(contents))

    def _send_all(self, contents: Iterable[tuple[str, Callable[[], Content]]]) -> None:
        self._parent()
        for key, content in contents:
            self._live.pop(key, None)
            if key not in self._sent or key.startswith(DESIGN):  # what a design reached changes with its runs
                self._send(key, content())
            elif OWED + key in self._sent and not self._artifacts.lasts:
                self._attach(key, self._sent[key], content().architecture)

    def stage(self, name: str) -> None:
        """The study's run, opened at the first call, shows what the study is at. Never raises."""
        self._try(lambda: self._runs.log(self._parent(), {}, {}, tags={"stage": name}))

    def begin_trial(self, record: Record) -> None:
        """A trial starts; see `begin`."""
        self.begin(str(record.number), partial(of_trial, record, self._shown))

    def begin_finalist(self, run: FinalRun) -> None:
        """A finalist's run starts; see `begin`."""
        self.begin(finalist_key(run), partial(of_finalist, run, self._shown))

    def begin(self, key: str, content: Callable[[], Content]) -> None:
        """A run starts: it is shown as RUNNING, with what is known of it so far; or, where the store is slow, with the
        next call of `stream`. Never raises.
        """
        if key not in self._sent and key not in self._live:
            self._live[key] = Live(content())
            if self._pace.quick:
                self._pace.timed(lambda: self._try(lambda: self._show(key)))

    def tell(self, key: str | int, points: Iterable[tuple[str, int, float]] = (), **tags: str) -> None:
        """What a running one reached, for the next call of `stream`. points: (name, tokens read, value)."""
        if live := self._live.get(str(key)):
            live.points |= {(name, tokens): value for name, tokens, value in points}
            live.tags |= tags

    def stream(self) -> None:
        """Send what was told since the last time: every few seconds, and a small share of all time. Never raises."""
        if self._pace.due and self._live:
            load = self._system.sample() if self._system else {}
            self._pace.timed(lambda: self._try(lambda: self._show_all(load)))

    def _show_all(self, load: Mapping[str, float]) -> None:
        for key in list(self._live):
            self._show(key, load)

    def _show(self, key: str, load: Mapping[str, float] | None = None) -> None:
        live = self._live[key]
        run = self._open(key, live.content)
        second = int(live.seconds)
        series = [(*point, value) for point, value in live.points.items()]
        series += [(name, second, value) for name, value in (load or {}).items()]
        self._runs.log(run, live.content.metrics, live.content.params, series, live.content.tags | live.tags)
        live.points.clear()

    def _open(self, key: str, content: Content) -> Seen:
        """The run with this key, RUNNING."""
        run = self._run(key, content)
        self._reopen(run, content.status)
        return run

    def _reopen(self, run: Seen, status: str = RUNNING) -> None:
        """Where it is to be RUNNING and is not."""
        if status == RUNNING != run.status:
            self._runs.status(run, RUNNING)

    def finish(self, metrics: Mapping[str, float], files: Iterable[Path], chosen: Iterable[str] = ()) -> None:
        """Close the parent run with the study's outcome and files, unless records could not be sent. Never raises.

        chosen: keys of the runs of the chosen architecture.
        """
        if not self.trouble:
            self._try(lambda: self._close(metrics, chosen), again=True)
        if not self.trouble:
            self._store_artifacts(lambda: self._log_files((file, None) for file in files))

    def _close(self, metrics: Mapping[str, float], chosen: Iterable[str]) -> None:
        parent = self._parent()
        self._runs.log(parent, metrics, {}, tags={"stage": "done"})
        keys = set(chosen)
        marked = {run.data.tags.get(RUN): run.info.run_id for run in self._runs.found(f"tags.{CHOSEN} = 'yes'")}
        for key in marked.keys() - keys:
            self._runs.client.delete_tag(marked[key], CHOSEN)
        for key in sorted(keys & self._sent.keys() - marked.keys()):
            self._runs.client.set_tag(self._sent[key], CHOSEN, "yes")
        self._live.clear()
        self._end_open("KILLED", but=parent.id)
        self._runs.status(parent, "FINISHED")

    def publish(self, note: str, files: Iterable[tuple[Path, str | None]]) -> None:
        """Give the study's run its description in Markdown, and the files that were made of it since it ended, each
        with its folder. Never raises; does nothing where its records could not be sent.
        """
        if self.trouble or PARENT not in self._sent:
            return
        self._try(lambda: self._describe(note), again=True)
        if not self.trouble:
            self._store_artifacts(lambda: self._log_files(files))

    def _describe(self, note: str) -> None:
        self._runs.open(self._sent[PARENT])
        self.page = self._runs.page
        self._runs.client.set_tag(self._sent[PARENT], NOTE, note)
        if not store.named_experiment():
            self._runs.client.set_experiment_tag(self._runs.experiment, NOTE, note)

    def _log_files(self, files: Iterable[tuple[Path, str | None]]) -> None:
        for file, folder in files:
            self._runs.client.log_artifact(self._sent[PARENT], str(file), folder)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """What ends a search early also ends its open runs: an interrupt as KILLED, all else as FAILED."""
        try:
            yield
        except BaseException as error:
            self._live.clear()
            if self._runs.client or PARENT in self._sent:
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                self._try(lambda: self._end_open(status))
            raise

    def _end_open(self, status: str, but: str = "") -> None:
        """No run of the study stays RUNNING (but: the study's own, which ended well); one that a slow store made twice
        is deleted.
        """
        self._parent()
        client = self._runs.client
        for run in self._runs.found("attributes.status = 'RUNNING'"):
            number, key = run.info.run_id, run.data.tags.get(RUN, "")
            if self._sent.get(key, number) != number:
                client.delete_run(number)
            elif number != but:
                client.set_terminated(number, "FINISHED" if but and key.startswith(DESIGN) else status)
        self._forget()

    def _try(self, work: Callable[[], Any], again: bool = False) -> None:
        """A tracking server may fail in any way; the search must not. again: though it failed a moment ago."""
        if self._store.lasts and not again:
            return
        try:
            work()
        except Exception as error:
            self._store.failed(error)
            self._forget()
        else:
            self._store.well()

    def _forget(self) -> None:
        """What the store holds is looked up anew."""
        self._runs.forget()
        self._parent_run = None

    def _remember(self) -> None:
        write_atomically(self._ledger, to_json(self._ledgers))

    def _parent(self) -> Seen:
        """The study's run, open."""
        if self._parent_run is None:
            self._parent_run = self._found_or_made()
            self._reopen(self._parent_run)
        return self._parent_run

    def _found_or_made(self) -> Seen:
        """A store that was deleted or made anew is sent everything again, and so is another experiment."""
        known = self._runs.open(self._sent.get(PARENT))
        if known:  # earlier versions set no tags
            self._runs.log(known, {}, {}, tags={STUDY: self._runs.identity, RUN: PARENT})
            return known
        self._sent.clear()
        run = self._runs.at(PARENT, Made(self._study.name, self._study.tags, self._study.seconds))
        self._runs.log(run, {}, self._study.params)
        self._log_corpus(run)
        self._sent[PARENT] = run.id
        self._remember()
        return run

    def _log_corpus(self, run: Seen) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if corpus := self._study.corpus:
            source = to_json({"corpus": corpus["source"]})
            digest = corpus["fingerprint"][:LONGEST_DIGEST]
            dataset = Dataset(name=corpus["name"], digest=digest, source_type="l2m", source=source)
            tags = [InputTag("mlflow.data.context", "training")]
            self._runs.client.log_inputs(run.id, [DatasetInput(dataset, tags)])

    def _run(self, key: str, content: Content) -> Seen:
        """The run with this key under the one that it is nested in; made where there is none."""
        above = self._parent()
        if content.design:
            group = of_design(content.design, content, self._shown)
            above = self._runs.at(group.key, self._made(group, above))
            if not group.params.keys() <= above.params.keys():
                self._runs.log(above, group.metrics, group.params)
            self._reopen(above, content.status)
        return self._runs.at(key, self._made(content, above))

    def _made(self, content: Content, above: Seen) -> Made:
        tags = {**self._study.tags, **content.tags, "mlflow.parentRunId": above.id}
        return Made(content.name, tags, content.seconds, content.fingerprint)

    def _send(self, key: str, content: Content) -> None:
        run = self._run(key, content)
        self._runs.log(run, content.metrics, content.params, content.series, content.tags)
        self._runs.status(run, content.status)
        self._sent[key] = run.id
        self._attach(key, run.id, content.architecture)

    def _attach(self, key: str, run: str, architecture: dict[str, Any]) -> None:
        """Store a run's artifact, or remember that it is owed."""
        text = to_yaml(architecture)
        if self._store_artifacts(lambda: self._runs.client.log_text(run, text, "architecture.yaml")):
            self._sent.pop(OWED + key, None)
        else:
            self._sent[OWED + key] = run
        self._remember()

    def _store_artifacts(self, save: Callable[[], Any]) -> bool:
        """False where artifacts cannot be stored, which costs nothing else."""
        if self._artifacts.lasts:
            return False
        try:
            within(store.LONGEST_WAIT, save)
        except Exception as error:  # as above
            self._artifacts.failed(error)
            return False
        self._artifacts.well()
        return True
