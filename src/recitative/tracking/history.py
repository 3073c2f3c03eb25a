"""Earlier results: what the runs in MLflow scored, cell by cell, for the report to set beside."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from recitative.tracking.store import client, experiment_id

METRIC = "test_quadrant_f1"  # macro F at song level
CELL = ("experiment", "protocol", "arch", "pairing", "transfer_mode")
VERSION = ("dvc_experiment", "certificate_hash")  # only one version's repeats are averaged
_PAGE = 1000  # runs a request


def earlier_results() -> list[dict[str, Any]]:
    """A row a cell and version of it, the newest version first.

    Of a repeat that was trained more than once under the same DVC experiment and on the same
    splits, the latest run counts.

    Returns:
        Dictionaries with the keys `CELL` and `VERSION`; ``f1``, the mean over ``repeats``
        repeats of quadrant macro F at song level; ``run_ids``; ``devices`` and ``git_shas``, sorted
        and without doubles; ``start``, of the newest run, in ms since 1970.
    """
    latest: dict[tuple[str, ...], Any] = {}
    for found in _finished_runs():  # newest first
        tags = found.data.tags
        if METRIC in found.data.metrics and all(name in tags for name in (*CELL, "repeat")):
            key = (*(tags[name] for name in CELL), *_version(tags), tags["repeat"])
            latest.setdefault(key, found)
    cells: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for key, found in latest.items():
        cells[key[:-1]].append(found)
    rows = [
        dict(zip((*CELL, *VERSION), key, strict=True))
        | {
            "f1": mean(found.data.metrics[METRIC] for found in runs),
            "repeats": len(runs),
            "run_ids": [found.info.run_id for found in runs],
            "devices": sorted({found.data.tags.get("device", "unknown") for found in runs}),
            "git_shas": sorted({found.data.tags.get("git_sha", "unknown") for found in runs}),
            "start": max(found.info.start_time for found in runs),
        }
        for key, runs in cells.items()
    ]
    return sorted(rows, key=lambda row: -row["start"])


def _version(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(tags.get(name, "unknown") for name in VERSION)


def _finished_runs() -> Iterator[Any]:
    """Every finished run that has a transfer mode, newest first."""
    token = None
    while True:
        page = client().search_runs(
            [experiment_id()],
            "attributes.status = 'FINISHED' AND tags.transfer_mode LIKE '%'",
            max_results=_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return
