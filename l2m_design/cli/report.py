"""`l2m report STUDY`: the report page of a searched study, made again from its summary."""

from pathlib import Path
from typing import Annotated

import typer

from l2m_design.cli.terminal import Json, print_json, say


def command(
    study: Annotated[Path, typer.Argument(help="A study's report folder, as reports/quickstart, or its study.json.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; by default index.html beside study.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page and say what the study found."""
    from l2m_design.errors import BadInput
    from l2m_design.report import words
    from l2m_design.report.page import UndefinedError, load_summary, write_page

    summary = load_summary(study)
    page = out or (study if study.is_dir() else study.parent) / "index.html"
    try:
        write_page(summary, page)
    except OSError as error:
        raise BadInput(f"--out {page}: cannot be written ({error.strerror})") from None
    except (LookupError, TypeError, UndefinedError) as error:
        raise BadInput(
            f"{study}: written by version {summary.get('version')}, this one misses {error}; search again"
        ) from None
    if as_json:
        print_json({"study": summary["study"], "report": str(page), "outcome": words.outcome(summary)})
    else:
        say(*words.outcome(summary), f"Report: {page}")
