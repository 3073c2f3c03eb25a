"""Reports: tables, figures and the page, from the stages' files alone."""

from typing import Literal

from recitative.config import Section


class ReportConfig(Section):
    """Parameters of the report."""

    average: Literal["macro", "weighted"] = "macro"  # which is shown first
    mlflow_url: str = "http://127.0.0.1:5000"  # where `mlflow ui` answers, for the page's links
