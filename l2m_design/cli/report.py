"""`l2m report STUDY`: the report page of a searched study, made again from its summary; or two studies compared."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, say, warn


def command(
    study: Annotated[
        Path | None, typer.Argument(help="A study's report folder, as reports/quickstart, or its study.json.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; by default index.html beside study.json, or compared.html here."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Two studies side by side on one page, in place of STUDY."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the page's figures as SVG files, for a paper.")
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
    if (study is None) == (compare is None):
        raise BadInput(
            "STUDY: give a study's report folder, as reports/quickstart, or --compare A B, or --schema"
            if study is None
            else f"--compare: compares two studies by itself; leave {study} out"
        )
    if compare and figures:
        raise BadInput(f"--figures {figures}: are those of one study; leave --compare out")
    if resend:
        if study is None:
            raise BadInput("--resend: sends one study; leave --compare out")
        _resend(study, (tracking, runs, storage), as_json)
        return
    page = out or (Path("compared.html") if study is None else _folder(study) / "index.html")
    try:
        name, said = _compared(*compare, page) if compare else _written(study or Path(), page, figures)
    except OSError as error:
        raise BadInput(f"{error.filename or page}: cannot be written ({error.strerror})") from None
    if as_json:
        print_json({"study": name, "report": str(page), "outcome": said})
    else:
        say(*said, f"Report: {page}", *([f"Figures: {figures}"] if figures else []))


def _resend(study: Path, places: tuple[str | None, Path, str | None], as_json: bool) -> None:
    from l2m_design.library.resend import resend

    tracking, runs, storage = places
    uri, notes = resend(study, tracking=tracking, runs=runs, storage=storage)
    if as_json:
        print_json({"tracking_uri": uri, "notes": notes})
    else:
        warn(*notes)
        say(f"In MLflow: mlflow ui --backend-store-uri {uri}")


def _folder(study: Path) -> Path:
    return study if study.is_dir() else study.parent


def _written(study: Path, page: Path, figures: Path | None) -> tuple[str, list[str]]:
    """The study's name and its answer in sentences; its page is written."""
    from l2m_design.errors import BadInput
    from l2m_design.report import adoption, words
    from l2m_design.report.page import write_figures, write_page
    from l2m_design.search.adoption.results import load_adoption_summary
    from l2m_design.search.results import reading

    if found := load_adoption_summary(study):
        if figures:
            raise BadInput(f"--figures {figures}: {study} is a study with `start`, whose figures are on its page alone")
        adoption.write_adoption(found, page)
        return found.study, adoption.outcome(found)
    summary = reading.load_summary(study)
    write_page(summary, page)
    if figures:
        write_figures(summary, figures)
    return summary.study, words.outcome(summary)


def _compared(first: Path, second: Path, page: Path) -> tuple[str, list[str]]:
    """Both names and the comparison in sentences; its page is written."""
    from l2m_design.errors import BadInput
    from l2m_design.report.compare import outcome, write_comparison
    from l2m_design.search.adoption.results import load_adoption_summary
    from l2m_design.search.results import reading

    for each in (first, second):
        if load_adoption_summary(each):
            raise BadInput(f"--compare {each}: is a study with `start`; only searches of architectures are compared")
    one, two = (reading.load_summary(each) for each in (first, second))
    write_comparison(one, two, page)
    return f"{one.study}, {two.study}", outcome(one, two)
