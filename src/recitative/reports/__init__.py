"""Reports: tables, figures and the page, from the stages' files alone."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from recitative.config import Section


def _web_address(url: str) -> str:
    found = urlsplit(url)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError("an address that begins with http:// or https:// is needed")
    return url


class ReportConfig(Section):
    """Parameters of the report."""

    average: Literal["macro", "weighted"] = "macro"  # which is shown first
    # Where `mlflow ui` answers, for the page's links: a link of another kind would run as a script.
    mlflow_url: Annotated[str, AfterValidator(_web_address)] = "http://127.0.0.1:5000"
