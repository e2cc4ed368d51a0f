"""`l2m report STUDY`: write the report page of a study again, from its study.json; or compare two studies."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, runs_in_mlflow, say, warn


def command(
    study: Annotated[
        Path | None, typer.Argument(help="Report folder of a study, such as reports/quickstart, or its study.json.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write. Default: index.html beside study.json; with --compare, compared.html."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Compare two studies on one page; leave STUDY out."),
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write the figures to, as SVG files.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of study.json and stop.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send all results of the study that are missing in MLflow.")
    ] = False,
    tracking: Annotated[
        str | None, typer.Option(help="With --resend: MLflow URI. Default: MLFLOW_TRACKING_URI, else a SQLite file.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="With --resend: the --runs folder of the search.")] = Path("runs"),
    storage: Annotated[str | None, typer.Option(help="With --resend: the --storage URL of the search.")] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a finished study as one self-contained HTML page, and print its result."""
    from l2m_design.errors import BadInput
    from l2m_design.search.schema import schema as study_schema

    if schema:
        print_json(study_schema())
        return
    if (study is None) == (compare is None):
        raise BadInput(
            "STUDY: give the report folder of a study, such as reports/quickstart, or --compare A B, or --schema"
            if study is None
            else f"--compare: takes two studies; remove {study}"
        )
    if resend:
        if study is None:
            raise BadInput("--resend: not allowed with --compare")
        _resend(study, (tracking, runs, storage), as_json)
        return
    page = out or (Path("compared.html") if study is None else _folder(study) / "index.html")
    try:
        name, outcome = _compared(*compare, page, figures) if compare else _write(study or Path(), page, figures)
    except OSError as error:
        raise BadInput(f"{error.filename or page}: cannot be written ({error.strerror})") from None
    if as_json:
        print_json({"study": name, "report": str(page), "outcome": outcome})
    else:
        say(*outcome, f"Report: {page}", *([f"Figures: {figures}"] if figures else []))


def _resend(study: Path, places: tuple[str | None, Path, str | None], as_json: bool) -> None:
    from l2m_design.library.resend import resend

    tracking, runs, storage = places
    uri, page, notes = resend(study, tracking=tracking, runs=runs, storage=storage)
    if as_json:
        print_json({"tracking_uri": uri, "runs_page": page, "notes": notes})
    else:
        warn(*notes)
        runs_in_mlflow(uri, page)


def _folder(study: Path) -> Path:
    return study if study.is_dir() else study.parent


def _write(study: Path, page: Path, figures: Path | None) -> tuple[str, list[str]]:
    """Write the page; return the name of the study and its result in sentences."""
    from l2m_design.report import adoption, words
    from l2m_design.report.page import write_figures, write_page
    from l2m_design.search.adoption.results import load_adoption_summary
    from l2m_design.search.results import reading

    if found := load_adoption_summary(study):
        adoption.write_adoption(found, page)
        if figures:
            adoption.write_figures(found, figures)
        return found.study, adoption.outcome(found)
    summary = reading.load_summary(study)
    write_page(summary, page)
    if figures:
        write_figures(summary, figures)
    return summary.study, words.outcome(summary)


def _compared(first: Path, second: Path, page: Path, figures: Path | None) -> tuple[str, list[str]]:
    """Write the page; return both names and the comparison in sentences."""
    from l2m_design.errors import BadInput
    from l2m_design.report.compare import outcome, write_comparison, write_figures
    from l2m_design.search.adoption.results import load_adoption_summary
    from l2m_design.search.results import reading

    if len({(each / reading.STUDY if each.is_dir() else each).resolve() for each in (first, second)}) == 1:
        raise BadInput(f"--compare {first}: is given twice; give two studies")
    for each in (first, second):
        if load_adoption_summary(each):
            raise BadInput(
                f"--compare {each}: this study adapts the cache of a model (key `start`); only studies that search "
                "architectures can be compared"
            )
    one, two = (reading.load_summary(each) for each in (first, second))
    write_comparison(one, two, page)
    if figures:
        write_figures(one, two, figures)
    return f"{one.study}, {two.study}", outcome(one, two)
