"""Baselines that no network should lose to: class frequencies, and statistics of sound with an SVM.

All predict a whole song; its segments carry the song's answer, so that they stand in the same table.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.fft import dct
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from recitative.learning.segments import LabelledSegments, task_targets
from recitative.learning.transfer import Parts

MFCCS = 20


def mfcc_statistics(segments: LabelledSegments) -> np.ndarray:
    """Mean and deviation over time of 20 MFCCs of each clip, (C, 40).

    The MFCCs are the orthonormal DCT-II of the stored log-mel frames.
    """
    rows = []
    for clip in segments.clips:
        mfcc = dct(segments.store.frames_of(clip), axis=1, norm="ortho")[:, :MFCCS]
        rows.append(np.concatenate([mfcc.mean(0), mfcc.std(0)]))
    return np.array(rows)


def opensmile_installed() -> bool:
    """Whether the optional package is there: `pip install recitative[opensmile]`."""
    return find_spec("opensmile") is not None


def opensmile_functionals(signals: Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """The 88 functionals of eGeMAPSv02 (Eyben et al. 2016) of each clip, (C, 88).

    `signals` are (n,) float32 mono samples of each clip at `sample_rate` Hz.
    """
    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
    return np.concatenate(
        [smile.process_signal(signal, sample_rate).to_numpy() for signal in signals]
    )


def _svm(seed: int) -> Any:
    return make_pipeline(StandardScaler(), SVC(class_weight="balanced"))


_CLASSIFIERS: dict[str, Callable[[int], Any]] = {  # seed -> a fresh scikit-learn classifier
    "majority": lambda seed: DummyClassifier(strategy="most_frequent"),
    "stratified": lambda seed: DummyClassifier(strategy="stratified", random_state=seed % 2**32),
    "mfcc_svm": _svm,
    "opensmile_svm": _svm,
}


def predict_baseline(
    name: str,
    segments: LabelledSegments,
    parts: Parts,
    seed: int,
    functionals: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities (all 0 or 1) of each test segment, (B, 6), from the training part's clips.

    A baseline is `majority`, `stratified` (labels drawn with the training shares, one draw a song,
    by `seed`), or `mfcc_svm` and `opensmile_svm` (RBF support vectors on standardised statistics,
    balanced classes); only the last one needs the (C, F) of `opensmile_functionals`. Validation is
    not used: nothing is tuned.
    """
    train = np.unique(segments.clip[parts.train])
    test = np.unique(segments.clip[parts.test])
    features = np.zeros((len(segments.clips), 1))  # what a dummy does not look at
    if name == "mfcc_svm":
        features = mfcc_statistics(segments)
    elif name == "opensmile_svm":
        if functionals is None:
            raise ValueError("opensmile_svm learns from functionals: see opensmile_functionals")
        features = functionals
    chosen: dict[str, np.ndarray] = {}
    for task, target in task_targets(segments.clip_quadrant).items():
        model = _CLASSIFIERS[name](seed)
        if len(np.unique(target[train])) == 1:  # an SVM needs two classes; one class is its answer
            model = DummyClassifier(strategy="most_frequent")
        chosen[task] = model.fit(features[train], target[train]).predict(features[test])
    of_song = np.column_stack([np.eye(4)[chosen["quadrant"]], chosen["arousal"], chosen["valence"]])
    probabilities: np.ndarray = of_song[np.searchsorted(test, segments.clip[parts.test])]
    return probabilities
