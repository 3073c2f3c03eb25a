"""`python -m benchmarks.scale`: what hundreds of hours cost, as measured -> docs/scale.md.

    python -m benchmarks.scale                       100 and 1,000 h, and 4 GB of files read at random
    python -m benchmarks.scale --hours 30 --no-reading    one small size

Writes benchmarks/scale.json and the tables in docs/scale.md; sizes that are not run keep what they had.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine, rounded
from benchmarks.scale import page
from benchmarks.scale.measure import measure

RESULTS = Path("benchmarks/scale.json")


def main() -> None:
    """Measure, write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", nargs="*", type=int, default=[100, 1000])
    parser.add_argument("--no-reading", action="store_true", help="leave out the 4 GB of files")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sizes": {}}
    for hours in given.hours:
        print(f"{hours} h ...", flush=True)
        with tempfile.TemporaryDirectory(dir=".", prefix=".scale-") as name:
            results["sizes"][str(hours)] = measure(Path(name), hours)
    if not given.no_reading:
        from benchmarks.scale import reading

        print("reading ...", flush=True)
        results["reading"] = reading.measure()
    results["machine"] = machine()
    results = rounded(results)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    page.write(results)
    print(page.render(results))


if __name__ == "__main__":
    main()
