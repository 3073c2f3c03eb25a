"""A music role as labelled segments: what transfer, controls and baselines learn from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recitative.corpora.base import IndexedClip
from recitative.features.store import FeatureStore
from recitative.files import plain_cell
from recitative.vocabulary import POSITIVE, QUADRANTS


@dataclass(frozen=True)
class LabelledSegments:
    """Every segment of a music role: C clips, N segments in the clips' order."""

    store: FeatureStore  # the role's frames
    frames: int  # frames of a segment
    clips: list[str]  # id of each clip, (C,)
    groups: list[str]  # group of each clip, (C,)
    clip_quadrant: np.ndarray  # quadrant code 0..3 of each clip, (C,)
    start: np.ndarray  # first frame of each segment in the store, (N,)
    clip: np.ndarray  # the clip of each segment, (N,), non-decreasing
    # of the listeners who chose each quadrant, (C, 4), to train on a distribution instead of a
    # code; None otherwise
    shares: np.ndarray | None = None

    @staticmethod
    def load(
        store: FeatureStore, clips: Sequence[IndexedClip], frames: int, hop: int
    ) -> "LabelledSegments":
        """Cut the segments of all labelled clips that the store holds."""
        known = set(store.clip_ids)
        labelled = [clip for clip in clips if clip.id in known and clip.quadrant is not None]
        ids = [clip.id for clip in labelled]
        groups = [clip.group for clip in labelled]
        codes = np.array([QUADRANTS.index(str(clip.quadrant)) for clip in labelled], np.int64)
        cut = store.segments(ids, frames, hop)
        return LabelledSegments(store, frames, ids, groups, codes, cut.start, cut.clip)

    @property
    def quadrant(self) -> np.ndarray:
        """Quadrant code of each segment, (N,)."""
        labels: np.ndarray = self.clip_quadrant[self.clip]
        return labels

    def of(self, clip_ids: Iterable[str]) -> np.ndarray:
        """The segments of these clips, in order, as indices into the N."""
        wanted = set(clip_ids)
        chosen = np.array([clip in wanted for clip in self.clips], bool)
        return np.flatnonzero(chosen[self.clip])

    def x(self, segments: np.ndarray) -> Tensor:
        """Log-mel of some segments, (B, 1, M, T) float32."""
        return torch.from_numpy(self.store.gather(self.start[segments], self.frames))[:, None]

    def shuffled(self, parts: Sequence[np.ndarray], rng: np.random.Generator) -> "LabelledSegments":
        """The same segments with the quadrants of these parts' clips permuted among those clips."""
        clips = np.unique(self.clip[np.concatenate(parts)])
        source = np.arange(len(self.clips))
        source[clips] = rng.permutation(clips)
        shares = None if self.shares is None else self.shares[source]
        return replace(self, clip_quadrant=self.clip_quadrant[source], shares=shares)

    def targets(self, segments: np.ndarray) -> dict[str, np.ndarray]:
        """What some segments are trained on: codes (B,) a task, or distributions (B, K)."""
        if self.shares is None:
            return task_targets(self.quadrant[segments])
        quadrant = self.shares[self.clip[segments]]
        positive = {task: quadrant[:, codes].sum(1) for task, codes in POSITIVE.items()}
        return {"quadrant": quadrant} | {
            task: np.column_stack([1 - p, p]).astype(np.float32) for task, p in positive.items()
        }

    def predictions(self, segments: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
        """Rows of predictions.csv, without the columns that say whose they are.

        A group's name is a `plain_cell`; a clip's id begins with its adapter's, so it is one anyway.
        `segments` are (B,) indices into the N, `probabilities` (B, 6): Q1..Q4, positive arousal,
        positive valence.
        """
        clip = self.clip[segments]
        table = pd.DataFrame({"clip": [self.clips[c] for c in clip]})
        table["group"] = [plain_cell(self.groups[c]) for c in clip]
        table["segment"] = segments - np.searchsorted(self.clip, clip)  # from the clip's own first
        table[["q1", "q2", "q3", "q4", "arousal", "valence"]] = probabilities
        table["quadrant"] = [QUADRANTS[self.clip_quadrant[c]] for c in clip]
        return table


def task_targets(quadrant: np.ndarray) -> dict[str, np.ndarray]:
    """Class codes of the three tasks from quadrant codes, each shaped as `quadrant`."""
    return {"quadrant": quadrant} | {
        task: np.isin(quadrant, codes).astype(np.int64) for task, codes in POSITIVE.items()
    }
