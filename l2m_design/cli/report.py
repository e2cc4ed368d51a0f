"""`l2m report STUDY`: write the report page of a study again, from its study.json."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, say


def command(
    study: Annotated[
        Path | None, typer.Argument(help="Report folder of a study, such as reports/quickstart, or its study.json.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file to write. Default: index.html beside study.json.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of study.json and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a finished study as one self-contained HTML page, and print its result."""
    from l2m_design.errors import BadInput
    from l2m_design.search.schema import schema as study_schema

    if schema:
        print_json(study_schema())
        return
    if study is None:
        raise BadInput("STUDY: give the report folder of a study, such as reports/quickstart, or --schema")
    page = out or (study if study.is_dir() else study.parent) / "index.html"
    try:
        name, outcome = _write(study, page)
    except OSError as error:
        raise BadInput(f"--out {page}: cannot be written ({error.strerror})") from None
    if as_json:
        print_json({"study": name, "report": str(page), "outcome": outcome})
    else:
        say(*outcome, f"Report: {page}")


def _write(study: Path, page: Path) -> tuple[str, list[str]]:
    """Write the page; return the name of the study and its result in sentences."""
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
