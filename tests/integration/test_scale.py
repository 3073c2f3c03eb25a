"""1,000 hours of speech that take no disk: no step holds them in memory.

Recordings of one to three minutes, so that it ends in about a minute; `python -m benchmarks.scale` has
the utterances of LibriSpeech's length, ten times as many files (docs/scale.md).
"""

from pathlib import Path

import pytest

from benchmarks.scale.measure import measure

pytestmark = pytest.mark.integration
HOURS, MOST = 1000, 2000  # h, MB


def test_a_thousand_hours_stay_below_2_gb(tmp_path: Path) -> None:
    costs = measure(tmp_path, HOURS, (60, 180), shard_hours=10, one_file=True)
    assert costs["make"]["clips"] >= 30_000
    assert costs["plan"]["gigabytes"] > 2 * 57  # each language's, and the mix of both
    assert costs["sampling"]["shards"] == 101  # 1,001 h were drawn
    # An epoch visits every segment of the training part, 85 % of 7,500 an hour less the clips' ends.
    assert costs["sampling"]["segments"] == pytest.approx(HOURS * 0.85 * 7500, rel=0.02)
    for step in ("index", "split", "plan", "sampling"):
        assert costs[step]["peak_mb"] < MOST, step
