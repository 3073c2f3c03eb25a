"""What a pretraining is made of: the speech of one role, and the model that learns from it."""

from typing import TYPE_CHECKING

from recitative.corpora.base import EMOTION_ROLES, sources_of
from recitative.corpora.emotions import read_labels
from recitative.corpora.splits import read_splits
from recitative.errors import UserError
from recitative.experiment.places import FEATURES, SPLITS
from recitative.features.store import FeatureStore
from recitative.learning.emotions import emotion_codes
from recitative.learning.pretraining import Speech
from recitative.models import architecture
from recitative.models.storage import Description, describe
from recitative.params import Params

if TYPE_CHECKING:
    from recitative.features.mel import FeatureConfig


def speech_role(params: Params, language: str) -> str:
    """What the present architecture learns from, e.g. ``speech-eng`` or ``emotion-eng``."""
    return f"{architecture(params.pretrain.arch).speech}-{language}"


def require_speech(params: Params, *languages: str) -> None:
    """Raise UserError where the present architecture learns from emotional speech that is not there."""
    arch = params.pretrain.arch
    for source in dict.fromkeys(
        s for one in languages for s in sources_of(speech_role(params, one))
    ):
        if source not in EMOTION_ROLES or read_splits(SPLITS, source):
            continue
        where = f"params.yaml: datasets.{source}"
        if source in params.datasets:
            lacking = f"data/{params.datasets[source].folder} is not there"
        else:
            lacking = "no corpus for this role"
        raise UserError(
            f"{where}: {lacking}, and pretrain.arch: {arch} learns from it; bring a corpus in "
            "(docs/datasets.md), or choose pretrain.arch: scae or cpc"
        )


def read_speech(role: str, features: "FeatureConfig") -> Speech:
    """Open a role's features and its split, and the labels of emotional speech."""
    store = FeatureStore.open(FEATURES / role)
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for row in read_splits(SPLITS, role):
        if row.id in store.spans:
            parts[row.split].append(row.id)
    labels = {clip: emotion_codes(*of) for clip, of in read_labels(FEATURES / role).items()}
    return Speech(store, parts, features.segment_frames, features.segment_hop, labels)


def pretrained_description(params: Params) -> Description:
    """What rebuilds a pretraining model of the present architecture."""
    features = params.features
    return describe(
        params.pretrain.arch, params.encoder, params.arch, features.n_mels, features.segment_frames
    )
