"""Links from the page into MLflow's own: the comparison of exactly the runs behind a figure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class MlflowLinks:
    """Where `mlflow ui` answers, and the experiment that the runs are in."""

    base: str  # address of the server, e.g. ``http://127.0.0.1:5000``
    experiment_id: str  # MLflow's number of the experiment

    def compare(self, run_ids: Sequence[str]) -> str:
        """The page that sets these runs beside each other; of one run, its own page."""
        if len(run_ids) == 1:
            return f"{self.experiment}/{run_ids[0]}"
        runs, experiments = (
            quote(json.dumps(ids, separators=(",", ":")))
            for ids in (list(run_ids), [self.experiment_id])
        )
        return f"{self._root}/compare-runs?runs={runs}&experiments={experiments}"

    @property
    def experiment(self) -> str:
        """The table of all runs."""
        return f"{self._root}/experiments/{self.experiment_id}/runs"

    @property
    def _root(self) -> str:
        return f"{self.base.rstrip('/')}/#"
