"""What other experiments left in MLflow that compares with this one, checked."""

from collections.abc import Iterator

from recitative.evaluation.metrics import check_predictions
from recitative.experiment.places import SPLITS
from recitative.experiment.work import file_digest
from recitative.params import Params
from recitative.tracking.predictions import RunPredictions, predictions_of
from recitative.vocabulary import MUSIC


def earlier_predictions(params: Params, labels: str) -> Iterator[RunPredictions]:
    """Test predictions on the present split, of the same protocol, size and head.

    Args:
        params: of this experiment.
        labels: `transfer.labels` of the others.

    Raises:
        UserError: the MLflow store cannot be read, or a table in it cannot be scored.
    """
    hashes = {music: file_digest(SPLITS / f"music-{music}.csv") for music in MUSIC}
    same = {"size": params.size, "transfer.head": params.transfer.head}
    for found in predictions_of(hashes, params.protocol, labels, same):
        check_predictions(found.table, f"MLflow run {found.run_id}: predictions.csv")
        yield found
