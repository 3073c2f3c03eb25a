"""`make bench`: every target of docs/performance.md as a ratio against its peer, in one run.

    python -m benchmarks                all parts, about half an hour of CPU time
    python -m benchmarks --only storage features --rounds 9

Writes benchmarks/results.json and the table in docs/performance.md; a part that is not run keeps
what it had.
"""

import argparse
import json
import os
import platform
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch are loaded

from benchmarks import experiment1, table  # noqa: E402

RESULTS = Path("benchmarks/results.json")
PARTS = ("features", "storage", "startup", "peak", "training", "size")


def main() -> None:
    """Measure the parts that are asked for, write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=float, default=0.1, help="of an epoch, in part size")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in given.only:
        print(f"{part} ...", flush=True)
        with tempfile.TemporaryDirectory() as name:
            results[part] = measure(part, given.rounds, Path(name), given.share)
        results[part]["machine"] = machine()
        results = rounded(results)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if "training" in results:
        results["experiment1"] = arithmetic(results)
    results = rounded(results)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    table.write(results)
    print(table.render(results))


def measure(part: str, rounds: int, folder: Path, share: float) -> dict[str, Any]:
    """One part: `rows` of comparisons and plain `numbers`."""
    rows: list[Any] = []
    if part == "features":
        from benchmarks import features

        rows, numbers = features.measure(rounds, folder)
    elif part == "storage":
        from benchmarks import storage

        rows, numbers = storage.measure(rounds, folder)
    elif part == "startup":
        from benchmarks import startup

        numbers = startup.measure(rounds, folder)
    elif part == "peak":
        from benchmarks import peak

        numbers = peak.gflops() | peak.megaflops()
    elif part == "training":
        from benchmarks import training

        rows, numbers = training.measure(rounds)
    else:
        from benchmarks import size

        sizes = size.measure(share)
        return {"rows": sizes, "numbers": size.slopes(sizes), "share": share}
    return {"rows": [row.as_json() for row in rows], "numbers": numbers}


def arithmetic(results: dict[str, Any]) -> dict[str, Any]:
    """Experiment 1: ours as corrected (channel) and as released (time), against the release (time)."""
    parts = results["training"]["numbers"]
    stopped = results.get("stopping", {}).get("epochs")
    hours = {
        "reference": experiment1.reference(parts, "time"),
        "ours, time-axis batch norm": experiment1.ours(parts, "time"),
        "ours, corrected protocol": experiment1.ours(parts, "channel"),
    }
    if stopped:
        hours["ours, corrected, early stopping"] = experiment1.ours(parts, "channel", stopped)
    totals = {name: sum(phases.values()) for name, phases in hours.items()}
    ratios = {name: totals["reference"] / total for name, total in totals.items()}
    return {"hours": hours, "totals": totals, "ratios": ratios}


def machine() -> dict[str, str]:
    """What it was measured on."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    flags = Path("/proc/cpuinfo").read_text()
    levels = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    packages = {name: version(name) for name in ("torch", "numpy", "librosa")}
    return {
        "processor": f"{names[0] if names else platform.processor()}, {len(names)} cores",
        "instructions": ", ".join(levels),
        "python": platform.python_version(),
        "date": date.today().isoformat(),
        "load": f"{os.getloadavg()[0]:.1f}",
        **packages,
    }


def rounded(value: Any) -> Any:
    """Every float to 4 digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
