"""`l2m worker`: join a study that `l2m search` has planned, from any machine that reaches its database."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l2m_design.cli.terminal import Device, Json, print_json, progress, say, warn

if TYPE_CHECKING:
    from l2m_design.search.record import Record


def command(
    study: Annotated[str, typer.Option(help="The study's name.")],
    storage: Annotated[str, typer.Option(help="Its database, as postgresql://user@host/name or sqlite:///FILE.")],
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all.")] = None,
    gpus_per_trial: Annotated[int, typer.Option(min=1, help="Processes that share a trial, each on a GPU.")] = 1,
    index: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Which worker this is; it seeds what is drawn.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where checkpoints and weights go.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Take trials of a study until it is finished; killed ones are taken over by others."""
    import os

    from l2m_design.model.backends import pick_device
    from l2m_design.report import words
    from l2m_design.search.trials.objective import Place
    from l2m_design.search.workers.join import check_kernels, joined
    from l2m_design.search.workers.worker import Hooks, Worker

    pick_device(device)
    number = index if index is not None else 1 + os.getpid() % 10_000
    shared = joined(study, storage, lambda sentence: warn(f"l2m: {sentence}"), number)
    check_kernels(shared.descriptor.settings.search.kernels, device)
    done: list[int] = []
    with progress() as on_progress:

        def on_trial(record: "Record") -> None:
            done.append(record.number)
            on_progress.note(words.trial(record))

        hooks = Hooks(
            step=lambda record, step, steps: on_progress(record.picture, step, steps),
            final_step=lambda job, step, steps: on_progress(job.name, step, steps),
            trial=on_trial,
        )
        try:
            Worker(shared, Place(device, threads, gpus_per_trial, runs / study), hooks).run()
        except KeyboardInterrupt:
            warn(f"l2m: interrupted after {len(done)} trials; the study goes on without this worker")
            raise typer.Exit(1) from None
    result = {"study": study, "trials": done}
    print_json(result) if as_json else say(f"Study {study}: finished; {len(done)} trials were done here.")
