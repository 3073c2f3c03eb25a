"""The speech of one role, as the stages that pretrain on it read it."""

from recitative.corpora.splits import read_splits
from recitative.experiment.places import FEATURES, SPLITS
from recitative.features.mel import FeatureConfig
from recitative.features.store import FeatureStore
from recitative.learning.pretraining import Speech


def read_speech(role: str, features: FeatureConfig) -> Speech:
    """Open a role's features and its split; no other role's files are touched."""
    store = FeatureStore.open(FEATURES / role)
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for row in read_splits(SPLITS, role):
        if row.id in store.spans:
            parts[row.split].append(row.id)
    return Speech(store, parts, features.segment_frames, features.segment_hop)
