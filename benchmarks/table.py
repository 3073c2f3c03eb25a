"""results.json as markdown, between the markers of docs/performance.md."""

from pathlib import Path
from typing import Any

PAGE = Path("docs/performance.md")
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"


def write(results: dict[str, Any]) -> None:
    """Put the tables into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{render(results)}\n{END}{after}")


def render(results: dict[str, Any]) -> str:
    """All tables."""
    blocks = [_comparisons(results)]
    blocks += [_peaks(results)] if "peak" in results and "training" in results else []
    blocks += [_experiment(results["experiment1"])] if "experiment1" in results else []
    blocks += [_sizes(results["size"])] if "size" in results else []
    blocks += [_numbers(results)]
    return "\n\n".join(blocks)


def _comparisons(results: dict[str, Any]) -> str:
    parts = [name for name in ("training", "storage", "features") if name in results]
    machine = results[parts[0]]["machine"]
    lines = [
        f"{machine['processor']} ({machine['instructions']}), Python {machine['python']}, torch "
        f"{machine['torch']}, {machine['date']}; one thread a side, CPU time, medians (quartiles) "
        "over the rounds of one run:",
        "",
        "| what | against | ours, ms | peer, ms | ratio | wall | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in parts:
        for row in results[part]["rows"]:
            target = f"{row['target']:g}×" if row["target"] else ""
            met = " ✓" if row["target"] and row["ratio"] >= row["target"] else ""
            lines.append(
                f"| {row['what']} | {row['against']} | {row['ours']:.3g} | {row['peer']:.3g} a "
                f"{row['unit']} | {row['ratio']:.3g}× ({row['low']:.3g}–{row['high']:.3g}) "
                f"| {row['wall_ratio']:.3g}× | {target}{met} |"
            )
    return "\n".join(lines)


def _peaks(results: dict[str, Any]) -> str:
    peaks, parts = results["peak"]["numbers"], results["training"]["numbers"]
    steps = {
        "scae pretraining step": "scae channel ours",
        "cpc pretraining step": "cpc channel ours",
        "scae finetune step": "scae channel finetune",
    }
    rate = {kind: f"{peaks[f'peak GFLOP/s a core, {kind}']:.0f}" for kind in ("float32", "bf16")}
    rates = " and ".join(f"{value} ({kind})" for kind, value in rate.items())
    written = peaks["MFLOP a segment, scae pretraining step as the paper writes it"]
    lines = [
        f"Measured peak of one core: {rates} GFLOP/s. SCAE as the paper writes it needs "
        f"{written:.0f} MFLOP a segment and step. The least is what the peak would allow:",
        "",
        "| step, channel batch norm | MFLOP a segment | ms | least, ms | share of the bf16 peak |",
        "|---|---|---|---|---|",
    ]
    for name, part in steps.items():
        count = peaks[f"MFLOP a segment, {name}"]
        least = count / peaks["peak GFLOP/s a core, bf16"]
        spent, share = parts[part], least / parts[part]
        lines.append(f"| {name} | {count:.0f} | {spent:.2f} | {least:.2f} | {share:.0%} |")
    return "\n".join(lines)


def _experiment(found: dict[str, Any]) -> str:
    sides = list(found["hours"])
    lines = [
        "Experiment 1, all cells, in CPU hours (`benchmarks/experiment1.py` multiplies):",
        "",
        f"| phase | {' | '.join(sides)} |",
        f"|---|{'---|' * len(sides)}",
    ]
    for phase in found["hours"][sides[0]]:
        hours = " | ".join(f"{found['hours'][side][phase]:.1f}" for side in sides)
        lines.append(f"| {phase} | {hours} |")
    totals = " | ".join(f"**{found['totals'][side]:.0f}**" for side in sides)
    ratios = " | ".join(f"{found['ratios'][side]:.2g}×" for side in sides)
    lines += [f"| **all** | {totals} |", f"| ratio | {ratios} |"]
    return "\n".join(lines)


def _sizes(found: dict[str, Any]) -> str:
    lines = [
        f"Cost against size: {found['share']:.0%} of an epoch of SCAE in batches of 64, every process on "
        "all hours (memory: with the pages of the mapped frames that it read):",
        "",
        "| hours of speech | processes | CPU s, all | wall s | peak MB a process |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['hours']:g} | {row['processes']} | {row['cpu_seconds']:.1f} | "
            f"{row['wall_seconds']:.1f} | {row['peak_megabytes_a_process']:.0f} |"
        )
    lines += ["", "| fitted over the sizes | value |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in found["numbers"].items()]
    return "\n".join(lines)


def _numbers(results: dict[str, Any]) -> str:
    parts = [p for p in ("features", "storage", "startup") if p in results]
    lines = ["| number | value |", "|---|---|"]
    for part in parts:
        lines += [f"| {k} | {v:.3g} |" for k, v in results[part]["numbers"].items()]
    if "training" in results:
        before = results["training"]["numbers"]["scae channel, memory given back"]
        what = "SCAE step, bf16, ms a segment, where freed memory is given back"
        lines.append(f"| {what} | {before:.3g} |")
    return "\n".join(lines)
