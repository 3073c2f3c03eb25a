"""What a transfer or a control is made of: music as labelled segments, its folds, the network."""

from recitative.agreement.consensus import label_shares
from recitative.agreement.ratings import read_music_ratings
from recitative.corpora.indexing import read_index
from recitative.corpora.splits import parts_for_fold, read_splits
from recitative.experiment.places import FEATURES, INDEX, SPLITS
from recitative.features.store import FeatureStore
from recitative.learning.labels import Opinion
from recitative.learning.segments import LabelledSegments
from recitative.learning.transfer import Parts
from recitative.models.storage import Description
from recitative.params import Params


def load_music(params: Params, music: str) -> tuple[LabelledSegments, list[Parts]]:
    """A music role's segments, and its parts in each fold (one where nothing is folded)."""
    role = f"music-{music}"
    clips = read_index(INDEX, role)
    store = FeatureStore.open(FEATURES / role)
    features = params.features
    segments = LabelledSegments.load(store, clips, features.segment_frames, features.segment_hop)
    rows = read_splits(SPLITS, role)
    folds = [rows]
    if params.split.scheme == "grouped_folds":
        folds = [
            parts_for_fold(role, rows, clips, fold, params.split, params.seed)
            for fold in range(params.split.folds)
        ]
    parts = ("train", "validation", "test")
    return segments, [
        Parts(*(segments.of(row.id for row in fold if row.split == part) for part in parts))
        for fold in folds
    ]


def load_opinions(music: str) -> dict[str, Opinion]:
    """What the listeners of each clip say; nothing where the set has no ratings."""
    path = INDEX / f"music-{music}.ratings.csv"
    if not path.exists():
        return {}
    shares = label_shares(read_music_ratings(path))
    return {clip: Opinion(share, agreement) for clip, share, agreement in shares}


def classifier_description(params: Params, pretrained: Description) -> Description:
    """What rebuilds a classifier on top of the described encoder.

    Its dropout is that of the parameters, not one that a search found for pretraining: a cell and
    its control without pretraining must differ in nothing else.
    """
    return pretrained | {
        "encoder": pretrained["encoder"] | {"dropout": params.encoder.dropout},
        "head": params.transfer.head,
        "classifier": params.transfer.classifier.model_dump(mode="json"),
    }
