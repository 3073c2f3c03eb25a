"""The search as one interactive page that stands by itself: plotly once, then its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment
from plotly.offline import get_plotlyjs

from recitative.files import atomic_path


def write_search_page(
    path: Path, title: str, facts: Mapping[str, Any], drawn: Mapping[str, Any]
) -> None:
    """Write the page: `facts` as a table, e.g. the best value; plotly figures by their titles."""
    figures = {
        name: figure.update_layout(title=None).to_html(full_html=False, include_plotlyjs=False)
        for name, figure in drawn.items()
    }
    page = Environment(autoescape=True).from_string(
        Path(__file__).with_name("search.html.j2").read_text(encoding="utf-8")
    )
    with atomic_path(path) as temporary:
        page.stream(title=title, facts=facts, drawn=figures, plotly=get_plotlyjs()).dump(
            str(temporary), encoding="utf-8"
        )
