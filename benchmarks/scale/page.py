"""scale.json as markdown, between the markers of docs/scale.md."""

from pathlib import Path
from typing import Any

from benchmarks.scale.steps import STEPS

PAGE = Path("docs/scale.md")
BEGIN, END = "<!-- benchmarks.scale: begin -->", "<!-- benchmarks.scale: end -->"
WHAT = {
    "index": "`recitative index`: names, headers, hashes of 42 bytes",
    "split": "`recitative split`, with its certificate",
    "plan": "`recitative featurize`, until the first file is opened",
    "sampling": "`recitative pretrain mix` without the network: one epoch's batches",
}


def write(results: dict[str, Any]) -> None:
    """Put the tables into the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{render(results)}\n{END}{after}", encoding="utf-8")


def render(results: dict[str, Any]) -> str:
    """All tables."""
    return "\n\n".join([_sizes(results), _slopes(results["sizes"]), _reading(results["reading"])])


def _sizes(results: dict[str, Any]) -> str:
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, 24 GB, no GPU, Python {machine['python']}, {machine['date']}; one "
        "process a step, on one thread but for the index's reading:",
        "",
        "| step | hours | clips | CPU s | peak MB | of it the process's own |",
        "|---|---|---|---|---|---|",
    ]
    for step in STEPS:
        for hours, costs in _by_hours(results["sizes"]):
            cost = costs[step]
            lines.append(
                f"| {WHAT[step]} | {hours:,} | {costs['make']['clips']:,.0f} | {cost['cpu_seconds']:.1f} "
                f"| {cost['peak_mb']:.0f} | {cost['own_mb']:.0f} |"
            )
    return "\n".join(lines)


def _by_hours(sizes: dict[str, Any]) -> list[tuple[int, Any]]:
    return sorted((int(hours), costs) for hours, costs in sizes.items())


def _slopes(sizes: dict[str, Any]) -> str:
    (few, small), (many, large) = _by_hours(sizes)[0], _by_hours(sizes)[-1]
    lines = [
        f"From {few:,} to {many:,} h, and on the last size:",
        "",
        "| an hour of speech more | CPU s | peak MB |",
        "|---|---|---|",
    ]
    for step in STEPS:
        seconds, memory = (
            (large[step][name] - small[step][name]) / (many - few)
            for name in ("cpu_seconds", "peak_mb")
        )
        lines.append(f"| {step} | {seconds:.3g} | {memory:.3g} |")
    drawn = large["sampling"]
    lines += [
        "",
        "| number | value |",
        "|---|---|",
        f"| frames on disk, each language and the mix, GB | {large['plan']['gigabytes']:.0f} |",
        f"| shards of the mix | {drawn['shards']:.0f} |",
        f"| segments of an epoch | {drawn['segments']:,.0f} |",
        f"| bands' mean and deviation, s an hour of speech | {drawn['statistics_seconds_an_hour']:.2g} |",
    ]
    return "\n".join(lines)


def _reading(sides: dict[str, Any]) -> str:
    lines = [
        "Windows of 31 frames at random places of four files of 1 GiB that were not in memory:",
        "",
        "| read | cold, µs a window | again, µs a window | MB charged to the process for 97 MB |",
        "|---|---|---|---|",
    ]
    names = {"shards": "as the shards are", "maps": "through memory maps"}
    for side, name in names.items():
        cost = sides[side]
        lines.append(
            f"| {name} | {cost['cold_microseconds']:.0f} | {cost['warm_microseconds']:.1f} "
            f"| {cost['charged_mb']:.0f} |"
        )
    return "\n".join(lines)
