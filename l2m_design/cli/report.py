"""`l2m report STUDY`: the report page of a searched study, made again from its summary."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, runs_in_mlflow, say, warn


def command(
    study: Annotated[
        Path | None, typer.Argument(help="A study's report folder, as reports/quickstart, or its study.json.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; by default index.html beside study.json.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of study.json, and stop.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send the study to MLflow again: whatever the store lacks.")
    ] = False,
    tracking: Annotated[
        str | None, typer.Option(help="With --resend: MLflow URI; by default a sqlite file here.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="With --resend: the --runs of the search.")] = Path("runs"),
    storage: Annotated[str | None, typer.Option(help="With --resend: the --storage of the search.")] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page and say what the study found."""
    from l2m_design.errors import BadInput
    from l2m_design.search.schema import schema as study_schema

    if schema:
        print_json(study_schema())
        return
    if study is None:
        raise BadInput("STUDY: give a study's report folder, as reports/quickstart, or --schema")
    if resend:
        _resend(study, (tracking, runs, storage), as_json)
        return
    page = out or (study if study.is_dir() else study.parent) / "index.html"
    try:
        name, said = _written(study, page)
    except OSError as error:
        raise BadInput(f"--out {page}: cannot be written ({error.strerror})") from None
    if as_json:
        print_json({"study": name, "report": str(page), "outcome": said})
    else:
        say(*said, f"Report: {page}")


def _resend(study: Path, places: tuple[str | None, Path, str | None], as_json: bool) -> None:
    from l2m_design.library.resend import resend

    tracking, runs, storage = places
    uri, page, notes = resend(study, tracking=tracking, runs=runs, storage=storage)
    if as_json:
        print_json({"tracking_uri": uri, "runs_page": page, "notes": notes})
    else:
        warn(*notes)
        runs_in_mlflow(uri, page)


def _written(study: Path, page: Path) -> tuple[str, list[str]]:
    """The study's name and its answer in sentences; its page is written."""
    from l2m_design.report import adoption, words
    from l2m_design.report.page import write_page
    from l2m_design.search.adoption.results import load_adoption_summary
    from l2m_design.search.results import reading

    if found := load_adoption_summary(study):
        adoption.write_adoption(found, page)
        return found.study, adoption.outcome(found)
    summary = reading.load_summary(study)
    write_page(summary, page)
    return summary.study, words.outcome(summary)
