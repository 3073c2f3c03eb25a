"""Does bfloat16 change a score? The same cells in float32 and in bf16, paired over seeds, on real music.

A seed draws the split, the weights and every batch; the two precisions share all of it. Each side is
pretrained, encoded and transferred in its own precision. Song-level macro F on the test songs.

    python benchmarks/precision.py --data FOLDER      5 seeds, about an hour of CPU time

FOLDER holds the corpora as params.yaml's `datasets` has them.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from recitative.evaluation.metrics import TASKS, decide, score, to_song_level
from recitative.params import params_of
from recitative.stages import featurize, index, pretrain, split, transfer

PRECISIONS = ("float32", "bf16")
PAIRING = "eng2eng"


def main() -> None:
    """Train what is not in --out yet, then print the table as markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/precision.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="+", default=[], help="NAME=VALUE of params.yaml")
    given = parser.parse_args()
    given.data, given.out = given.data.resolve(), given.out.resolve()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["search"]["trials"] = 0
    values["compute"]["ahead"] = False
    for override in given.set:
        name, _, text = override.partition("=")
        *sections, leaf = name.split(".")
        holder = values
        for section in sections:
            holder = holder[section]
        holder[leaf] = yaml.safe_load(text)
    results: dict[str, Any] = {"settings": sorted(given.set), "scores": {}}
    if given.out.exists():
        found = json.loads(given.out.read_text())
        results = found if found["settings"] == results["settings"] else results
    with _workspace(given.data):
        for seed in range(given.seeds):
            for precision in PRECISIONS:
                if f"{seed} {precision}" in results["scores"]:
                    continue
                results["scores"][f"{seed} {precision}"] = _cell(values, seed, precision)
                given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results["scores"]))


def _cell(values: dict[str, Any], seed: int, precision: str) -> dict[str, float]:
    """Macro F of every mode and task, of one seed in one precision."""
    changed = json.loads(json.dumps(values))
    changed["seed"], changed["compute"]["precision"] = seed, precision
    params = params_of(changed, "params.yaml")
    with contextlib.redirect_stdout(io.StringIO()):
        for stage in (index, split, featurize):
            stage.run(params)
        pretrain.run(params, PAIRING[:3])
        transfer.run(params, PAIRING)
    table = pd.read_csv(f"build/transfer/{PAIRING}/predictions.csv")
    scores = {}
    for mode, part in table.groupby("transfer_mode"):
        songs = to_song_level(part)
        for task in TASKS:
            scores[f"{mode} {task}"] = float(score(*decide(songs, task), task).macro.f1)
    return scores


@contextlib.contextmanager
def _workspace(data: Path) -> Iterator[None]:
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="recitative-precision-") as name:
        folder = Path(name).resolve()
        (folder / ".recitative").mkdir()
        (folder / "data").symlink_to(data)
        os.environ.pop("DVC_ROOT", None)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(home)


def render(scores: dict[str, dict[str, float]]) -> str:
    """A row a mode and task: both means, the paired difference and its 95 % interval over seeds."""
    seeds = sorted({key.split()[0] for key in scores})
    lines = [
        f"| mode, task | float32 | bf16 | difference, points | 95 % interval, {len(seeds)} seeds |",
        "|---|---|---|---|---|",
    ]
    for name in next(iter(scores.values())):
        sides = {p: np.array([scores[f"{s} {p}"][name] for s in seeds]) for p in PRECISIONS}
        difference = 100 * (sides["bf16"] - sides["float32"])
        half = float(stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(difference))
        mean = difference.mean()
        lines.append(
            f"| {name} | {sides['float32'].mean():.3f} | {sides['bf16'].mean():.3f} "
            f"| {mean:+.1f} | [{mean - half:+.1f}, {mean + half:+.1f}] |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
