"""The data audit: what a role's corpus really holds, measured by decoding every file.

It answers before any training what would spoil it unseen: one recording under two names, files that
are silent, cut off or no audio at all, classes of very different size.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
from tqdm import tqdm

from recitative.audio import FAULTS, AudioError, Fault, load_audio, require_length
from recitative.corpora.base import IndexedClip, Problem
from recitative.corpora.indexing import RoleIndex
from recitative.vocabulary import QUADRANTS


@dataclass(frozen=True)
class RoleAudit:
    """One role's row of the audit."""

    role: str
    clips: int  # usable by name, table and header
    hours: float  # of the files without a fault
    groups: int
    shares: dict[str, float]  # of the labelled clips, a quadrant; empty for speech
    sample_rates: dict[int, int]  # Hz: clips
    faults: dict[Fault, int]  # files, by their headers or by decoding
    duplicates: list[tuple[str, ...]]  # paths of byte-identical files, in any role
    problems: list[Problem]  # the index's, and those that decoding showed


def audit_data(
    indices: Sequence[RoleIndex], data: Path, sample_rate: int, least: float, workers: int
) -> list[RoleAudit]:
    """Audit every role: one row each. A file has a fault where `featurize` refuses it.

    Identical files are looked for across all the roles, each stands in the row of every role that
    holds one of them.

    The paths are relative to `data`; `sample_rate` is of the features, Hz; a file of less than
    `least` seconds is too short; `workers` files are decoded side by side.
    """
    paths: dict[str, set[str]] = defaultdict(set)
    for index in indices:
        for clip in index.clips:
            paths[clip.digest].add(clip.path)
    audits = []
    for index in indices:
        read = joblib.Parallel(n_jobs=workers, prefer="threads", return_as="generator")(
            joblib.delayed(_fault)(clip, data / clip.path, sample_rate, least)
            for clip in index.clips
        )
        bar = tqdm(read, f"decode {index.role}", len(index.clips), unit="file", disable=None)
        audits.append(_audit_role(index, paths, list(bar)))
    return audits


def _fault(clip: IndexedClip, path: Path, sample_rate: int, least: float) -> AudioError | None:
    """What is wrong with a file, None where nothing is; decoded as `featurize` decodes it."""
    try:
        load_audio(path, sample_rate)
        require_length(path, clip.seconds, least)
    except AudioError as error:
        return error
    return None


def _audit_role(
    index: RoleIndex, paths: dict[str, set[str]], found: Sequence[AudioError | None]
) -> RoleAudit:
    decoded = list(zip(index.clips, found, strict=True))
    bad = [Problem(clip.path, error.reason) for clip, error in decoded if error]
    problems = [*index.problems, *bad]
    good = [clip.seconds for clip, error in decoded if not error]
    faults = Counter(problem.reason.partition(":")[0] for problem in problems)
    labels = Counter(clip.quadrant for clip in index.clips if clip.quadrant)
    digests = dict.fromkeys(clip.digest for clip in index.clips)
    return RoleAudit(
        role=index.role,
        clips=len(index.clips),
        hours=sum(good) / 3600,
        groups=len({clip.group for clip in index.clips}),
        shares={q: labels[q] / labels.total() for q in QUADRANTS} if labels else {},
        sample_rates=dict(sorted(Counter(clip.sample_rate for clip in index.clips).items())),
        faults={fault: faults[fault] for fault in FAULTS},
        duplicates=[tuple(sorted(paths[d])) for d in digests if len(paths[d]) > 1],
        problems=problems,
    )


def format_audit(audits: Sequence[RoleAudit]) -> str:
    """The audit as plain text: a table a role, then every duplicate and every problem by file."""
    header = ["role", "clips", "hours", "groups", *QUADRANTS, "Hz", "identical", *FAULTS]
    rows = [header, *(_cells(audit) for audit in audits)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    for audit in audits:
        if audit.duplicates:
            lines += ["", f"{audit.role}: the same file under several names"]
            lines += ["  " + " = ".join(names) for names in audit.duplicates]
        if audit.problems:
            lines += ["", f"{audit.role}: problems"]
            for problem in audit.problems:
                state = "kept" if problem.kept else "left out"
                lines.append(f"  {problem.path}: {problem.reason} ({state})")
    return "\n".join(lines)


def _cells(audit: RoleAudit) -> list[str]:
    return [
        audit.role,
        str(audit.clips),
        f"{audit.hours:.2f}",
        str(audit.groups),
        *(f"{audit.shares[q]:.0%}" if audit.shares else "-" for q in QUADRANTS),
        " ".join(f"{rate}×{n}" for rate, n in audit.sample_rates.items()),
        str(sum(len(names) for names in audit.duplicates)),
        *(str(audit.faults[fault]) for fault in FAULTS),
    ]
