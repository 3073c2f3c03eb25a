"""What a pretraining is made of: the speech of one role, and the model that learns from it."""

from typing import TYPE_CHECKING

from recitative.corpora.splits import read_splits
from recitative.experiment.places import FEATURES, SPLITS
from recitative.features.store import FeatureStore
from recitative.learning.pretraining import Speech
from recitative.models.storage import Description, describe
from recitative.params import Params

if TYPE_CHECKING:
    from recitative.features.mel import FeatureConfig


def read_speech(role: str, features: "FeatureConfig") -> Speech:
    """Open a role's features and its split; no other role's files are touched."""
    store = FeatureStore.open(FEATURES / role)
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for row in read_splits(SPLITS, role):
        if row.id in store.spans:
            parts[row.split].append(row.id)
    return Speech(store, parts, features.segment_frames, features.segment_hop)


def pretrained_description(params: Params) -> Description:
    """What rebuilds a pretraining model of the present architecture."""
    features = params.features
    return describe(
        params.pretrain.arch, params.encoder, params.arch, features.n_mels, features.segment_frames
    )
