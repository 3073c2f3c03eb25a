"""The data audit: what a role's corpus really holds, measured by decoding every file.

It answers before any training what would spoil it unseen: one recording under two names, files that
are silent, cut off or no audio at all, classes of very different size.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import soundfile
from tqdm import tqdm

from recitative.corpora.base import Problem
from recitative.corpora.indexing import CUT_OFF, UNREADABLE, IndexedClip, RoleIndex
from recitative.vocabulary import QUADRANTS

Fault = Literal["unreadable", "not finite", "silent", "cut off", "too short"]
FAULTS: tuple[Fault, ...] = ("unreadable", "not finite", "silent", "cut off", "too short")


@dataclass(frozen=True)
class Decoded:
    """What decoding one file showed."""

    seconds: float  # of audio that is really there
    fault: Fault | None  # the gravest one, in the order of FAULTS
    detail: str  # a sentence on the fault; "" without one


@dataclass(frozen=True)
class RoleAudit:
    """One role's row of the audit."""

    role: str
    clips: int  # usable by name, table and header
    hours: float  # by decoding
    groups: int
    shares: dict[str, float]  # of the labelled clips, a quadrant; empty for speech
    sample_rates: dict[int, int]  # Hz: clips
    faults: dict[Fault, int]  # files, by their headers or by decoding
    duplicates: list[tuple[str, ...]]  # paths of byte-identical files, in any role
    problems: list[Problem]  # the index's, and those that decoding showed


def audit_data(
    indices: Sequence[RoleIndex], data: Path, min_seconds: float, workers: int
) -> list[RoleAudit]:
    """Audit every role: one row each.

    Identical files are looked for across all the roles, each stands in the row of every role that
    holds one of them.

    Args:
        indices: what `index_role` found.
        data: the folder that their paths are relative to.
        min_seconds: a file with less audio is too short.
        workers: how many files are decoded side by side.
    """
    paths: dict[str, set[str]] = defaultdict(set)
    for index in indices:
        for clip in index.clips:
            paths[clip.digest].add(clip.path)
    return [
        _audit_role(index, paths, decode_clips(index, data, min_seconds, workers))
        for index in indices
    ]


def decode_clips(index: RoleIndex, data: Path, min_seconds: float, workers: int) -> list[Decoded]:
    """Decode each clip of `index` once, side by side, in order."""
    read = joblib.Parallel(n_jobs=workers, prefer="threads", return_as="generator")(
        joblib.delayed(decode)(data / clip.path, min_seconds) for clip in index.clips
    )
    return list(tqdm(read, f"decode {index.role}", len(index.clips), unit="file", disable=None))


def decode(path: Path, min_seconds: float) -> Decoded:
    """Decode a file and name the gravest thing that is wrong with it.

    The file is read whole: soundfile seeks after every block, and an MP3's frame cannot be decoded
    right after a seek, because it borrows bits from the frames before it.
    """
    try:
        stated = soundfile.info(path).frames
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        return Decoded(0.0, "unreadable", f"{UNREADABLE}: {error.error_string}")
    seconds = len(samples) / rate
    if not np.isfinite(samples).all():
        at = np.flatnonzero(~np.isfinite(samples).all(axis=1))[0] / rate
        return Decoded(seconds, "not finite", f"not finite: NaN or infinity at {at:.2f} s")
    if not samples.any():
        return Decoded(seconds, "silent", "silent: every sample is 0")
    if len(samples) < stated:
        detail = f"{CUT_OFF}: {seconds:.2f} s of the {stated / rate:.2f} s that its header states"
        return Decoded(seconds, "cut off", detail)
    if seconds < min_seconds:
        detail = f"too short: {seconds:.2f} s, less than {min_seconds:g} s"
        return Decoded(seconds, "too short", detail)
    return Decoded(seconds, None, "")


def _audit_role(
    index: RoleIndex, paths: dict[str, set[str]], decoded: Sequence[Decoded]
) -> RoleAudit:
    faults = Counter(result.fault for result in decoded if result.fault)
    for problem in index.problems:
        faults["unreadable"] += problem.reason.startswith(UNREADABLE)
        faults["cut off"] += problem.reason.startswith(CUT_OFF)
    labels = Counter(clip.quadrant for clip in index.clips if clip.quadrant)
    digests = dict.fromkeys(clip.digest for clip in index.clips)
    return RoleAudit(
        role=index.role,
        clips=len(index.clips),
        hours=sum(result.seconds for result in decoded) / 3600,
        groups=len({clip.group for clip in index.clips}),
        shares={q: labels[q] / labels.total() for q in QUADRANTS} if labels else {},
        sample_rates=dict(sorted(Counter(clip.sample_rate for clip in index.clips).items())),
        faults={fault: faults[fault] for fault in FAULTS},
        duplicates=[tuple(sorted(paths[d])) for d in digests if len(paths[d]) > 1],
        problems=[*index.problems, *_problems(index.clips, decoded)],
    )


def _problems(clips: Sequence[IndexedClip], decoded: Sequence[Decoded]) -> Iterable[Problem]:
    for clip, result in zip(clips, decoded, strict=True):
        if result.fault:
            yield Problem(clip.path, result.detail)


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
            lines += [
                f"  {problem.path}: {problem.reason} ({'kept' if problem.kept else 'left out'})"
                for problem in audit.problems
            ]
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
