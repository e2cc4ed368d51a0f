"""The pages that benchmarks write: a template's words, parts put where its comments name them, one style."""

from pathlib import Path

STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
td, th { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #e8ecef; vertical-align: top; }
pre { background: #f5f7f8; padding: .8rem 1rem; font-size: 12.5px; line-height: 1.45; overflow-x: auto; }
small { color: #8a94a0; }
h2 { margin-top: 3rem; }
</style>"""


def write(template: Path, parts: dict[str, str], page: Path) -> None:
    """Every part takes the place of `<!-- its name -->`. Raises KeyError for a part that the template does not name."""
    text = template.read_text()
    for name, part in {"style": STYLE, **parts}.items():
        if f"<!-- {name} -->" not in text:
            raise KeyError(f"{template.name} has no place for {name}")
        text = text.replace(f"<!-- {name} -->", part)
    page.write_text(text)


def table(head: list[str], lines: list[list[str]]) -> str:
    """Cells are HTML."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>\n" for line in lines)
    return f"<table>\n<tr>{cells}</tr>\n{body}</table>"
