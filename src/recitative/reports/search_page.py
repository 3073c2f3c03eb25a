"""The search as one interactive page that stands by itself: plotly once, then its figures."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from recitative.files import atomic_path

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .1rem .8rem .1rem 0; text-align: left }
"""


def write_search_page(
    path: Path, title: str, facts: Mapping[str, Any], drawn: Mapping[str, Any]
) -> None:
    """Write the page: `facts` as a table, e.g. the best value; plotly figures by their titles."""
    rows = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    sections = "".join(
        f"<h2>{escape(name)}</h2>"
        + figure.update_layout(title=None).to_html(full_html=False, include_plotlyjs=False)
        for name, figure in drawn.items()
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script>"
        f"<h1>{escape(title)}</h1><table>{rows}</table>{sections}</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
