"""The report says what the files say, no more: planted effects, planted markup, absent stages."""

import contextlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix

from recitative.cli import cli
from recitative.errors import UserError
from recitative.evaluation import EvaluateConfig
from recitative.evaluation.answers import answer
from recitative.evaluation.claims import HEADS, CellName
from recitative.evaluation.comparisons import compare, split_cells
from recitative.evaluation.metrics import (
    CLASS_COLUMNS,
    PROBABILITIES,
    RESULT_COLUMNS,
    per_class_rows,
    results_rows,
)
from recitative.evaluation.summary import SUMMARY_COLUMNS, matrix_rows, summarise
from recitative.files import read_csv, write_csv, write_json
from recitative.reports import results as reading
from recitative.reports.page import Content, MlflowLinks, p_value, render, write_report
from recitative.reports.parts import curves, earlier_table, power_lines
from recitative.reports.results import Comparison, read_cells, read_comparisons
from recitative.reports.summary import contradictions, summary_block, summary_text, with_block
from recitative.reports.tables import SYNTHETIC, escape, latex_table
from recitative.stages import report as stage
from recitative.tracking import past_runs

QUADRANTS = np.array(["Q1", "Q2", "Q3", "Q4"])
SONGS, REPEATS = 24, 2
PAIRINGS = ("eng2eng", "man2eng", "mix2eng", "eng2man", "man2man", "mix2man")
PARAMS = {
    "size": "demo",
    "protocol": "corrected",
    "seed": 3,
    "experiment": "demo",
    "pretrain": {"arch": "scae"},
    "transfer": {"repeats": REPEATS, "head": "flatten", "labels": "majority"},
}
PROVENANCE = {"git_sha": "abc", "git_dirty": "false", "dvc_experiment": "workspace"}


def predictions(pairing: str, hit: float, modes: tuple[str, ...], seed: int) -> pd.DataFrame:
    """Two segments a song; `hit` is the share of songs whose quadrant is found, not its neighbour."""
    rng = np.random.default_rng(seed)
    true = np.arange(SONGS) % 4
    rows = []
    for mode in modes:
        for repeat in range(REPEATS):
            decided = np.where(rng.random(SONGS) < hit, true, (true + 1) % 4)
            if mode == "majority":
                decided = np.zeros(SONGS, dtype=int)
            for song, said in enumerate(decided):
                q = np.full(4, 0.1)
                q[said] = 0.7
                named = ["scae", mode, repeat, f"{pairing[-3:]}/{song}", f"artist {song % 6}"]
                values = [*q, q[0] + q[1], q[0] + q[3]]
                rows += [[*named, segment, *values, QUADRANTS[true[song]]] for segment in (0, 1)]
    columns = ["arch", "transfer_mode", "repeat", "clip", "group", "segment", *PROBABILITIES]
    return pd.DataFrame(rows, columns=[*columns, "quadrant"])


MLFLOW = MlflowLinks("http://127.0.0.1:5000", "1")
CLAIM = {
    "claim": "1", "sentence": "Intra beats cross.", "source": "hypothesis", "verdict": "undecided",
    "test": "bootstrap", "unit": "points of macro F", "effect": 1.25, "low": -3.0, "high": 5.5,
    "p": 0.5, "p_corrected": 1.0, "songs": 24, "parts": [], "run_ids": ["a", "b"],
    "notes": [], "missing": None, "command": None,
}  # fmt: skip
CLAIMS = [
    CLAIM | {"claim": claim, "sentence": sentence, "source": source}
    for claim, sentence, source in HEADS.values()
]
ARCHS = ("scae", "cpc", "emotion")
CONTROLS = ("random_encoder", "scratch", "majority")


def planted(pretrained: float, none: float) -> dict[str, pd.DataFrame]:
    """Predictions of every pairing and of the controls, by the share of songs that are found."""
    modes = ("feature_extraction", "full")
    tables = {
        pairing: predictions(pairing, pretrained, modes, seed)
        for seed, pairing in enumerate(PAIRINGS)
    }
    for seed, music in enumerate(("eng", "man")):
        tables[f"none2{music}"] = predictions(f"none2{music}", none, CONTROLS, 50 + seed)
    return tables


def evaluated(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write the evaluation's files."""
    results, classes = [], []
    for pairing, table in tables.items():
        speech, music = pairing.split("2")
        named = {
            "experiment": "demo",
            "pairing": pairing,
            "setting": reading.setting_of(pairing),
            "speech_language": speech,
            "music_language": music,
            "run_id": "r",
        }
        results += results_rows(table, named)
        classes += per_class_rows(table, named)
    config = EvaluateConfig(draws=100)
    cells = split_cells(tables)
    tests = compare(cells, config, 1)
    write_csv(folder / "summary.csv", SUMMARY_COLUMNS, summarise(cells, config, 1))
    write_csv(folder / "results.csv", RESULT_COLUMNS, results)
    write_csv(folder / "classes.csv", CLASS_COLUMNS, classes)
    write_csv(folder / "tests.csv", list(tests[0]), tests)


def read(folder: Path) -> tuple[list[reading.Cell], list[Comparison]]:
    names = ("summary", "results", "classes")
    cells = read_cells(*(read_csv(folder / f"{name}.csv") for name in names))
    return cells, read_comparisons(read_csv(folder / "tests.csv"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("evaluate")
    tables = planted(0.55, 0.5)
    evaluated(tables, folder)
    return folder, tables


def whole_matrix(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the page takes from claims/: these cells as SCAE's and, alike, as the others'."""
    cells = {
        CellName("demo", "scae", key.mode, key.pairing): table
        for key, table in split_cells(tables).items()
    }
    rows, tests = (
        [row | {"arch": arch} for arch in ARCHS for row in found]
        for found in matrix_rows(cells, EvaluateConfig(draws=100), 1)
    )
    runs = {
        ("demo", arch, name.mode, name.pairing): [f"{arch}-{name.mode}-{name.pairing}"]
        for arch in ARCHS
        for name in cells
    }
    text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    return {
        "matrix": read_cells(text, runs=runs),
        "matrix_tests": {
            ("demo", arch): read_comparisons(row for row in tests if row["arch"] == arch)
            for arch in ARCHS
        },
        "experiments": {"stands_for": {"1": "demo", "2": "demo"}, "speech_hours": {"demo": 0.08}},
        "overall": {
            "coefficients": [
                {
                    "term": "setting", "level": "mix", "baseline": "intra", "estimate": -1.5,
                    "low": -4.0, "high": 1.0, "p": 0.24,
                }
            ],
            "statements": ["arch is scae throughout: left out"],
        },
        "faults": [
            {
                "pairing": "eng2eng", "arch": "scae", "size": "demo", "repeats": 2,
                "rungs": [
                    {
                        "row": "C11", "what": "test songs stay out", "mode": "full", "printed": 0.5,
                        "honest": 0.4, "songs": 24, "fault_adds": 12.5,
                    }
                ],
            }
        ],
        "claims": CLAIMS,
        "answers": answer(CLAIMS),
        "mlflow": MLFLOW,
    }  # fmt: skip


@pytest.fixture(scope="module")
def evidence(files: tuple[Path, dict[str, pd.DataFrame]]) -> Content:
    folder, tables = files
    cells, comparisons = read(folder)
    history = [
        {"epoch": e, "train_loss": 2.0 - e, "validation_loss": 1.8 - e / 2, "best": 1.0}
        for e in range(2)
    ]
    gates = [{"name": "min_recall", "passed": False, "reason": "lowest recall <0>"}]
    chosen = {"pairing": "eng2eng", "transfer_mode": "full", "members": 2}
    return Content(
        cells=cells,
        comparisons=comparisons,
        synthetic=True,
        params=PARAMS,
        average="macro",
        provenance=PROVENANCE,
        confusions={name: reading.song_confusions(table) for name, table in tables.items()},
        histories={"eng": history, "man": history},
        pretext={"eng": {"label_prior": 0.5, "mean_log_mel_alone": 0.6789}},
        certificate={
            "hash": "c" * 64,
            "roles": {
                "speech-eng": {"train": {"clips": 3, "hours": 0.0855, "groups": 2}},
                "music-eng": {
                    "test": {
                        "clips": 4,
                        "hours": 1.5,
                        "groups": 3,
                        "classes": dict.fromkeys(QUADRANTS.tolist(), 0.25),
                    }
                },
            },
            "checks": ["No clip stands in two parts."],
            "leaks": [],
            "notes": ["a note"],
        },
        problems={"music-eng": [{"path": "<b>x</b>.mp3", "reason": "unreadable"}]},
        alpha=[
            {
                "music_language": "eng", "variable": "quadrant", "level": "nominal", "alpha": 0.5,
                "low": 0.4, "high": 0.6, "resampled": "both", "raters": 9.0, "units": 60.0,
            },
            {
                "music_language": "man", "variable": "arousal", "level": "interval", "alpha": None,
                "low": None, "high": None, "resampled": "both", "raters": 1.0, "units": 60.0,
            },
        ],
        listeners={"eng": {"ceiling": {"quadrant": {"macro_f1": 0.8, "low": 0.7, "high": 0.9}}}},
        decisions=[
            {
                "model": "mer-eng", "version": "2", "alias": "challenger",
                "candidate": chosen | {"validation_f1": 0.61}, "gates": gates,
                "beside": [{"name": "beats_scratch", "passed": True, "reason": "+3 points"}],
            }
        ],
        runs={"eng2eng full 0": "run-a"},
        curves={(arch, "demo"): {"eng": history} for arch in ARCHS[1:]},
        truth=[
            {
                "effect": effect, "seed": seed, "arch": "scae", "claim": "10a", "expected": expected,
                "verdict": "supported" if expected == "found" else "undecided", "value": 9.0,
                "low": 2.0, "high": 16.0, "right": True,
            }
            for seed in (1, 2)
            for effect, expected in (("none", "absent"), ("pretraining", "found"))
        ],
        power=[
            {"songs": songs, "repeats": repeats, "points": 300 / songs / repeats}
            for repeats in (2.0, 4.0)
            for songs in (20.0, 60.0, 250.0)
        ],
        **whole_matrix(tables),
        earlier=[
            earlier_row("eng2eng", "full", 0.44, "run-a"),
            earlier_row("none2eng", "scratch", 0.33, "run-b"),
            earlier_row("eng2eng", "full", 0.22, "run-c", certificate_hash="9" * 64),
        ],
    )  # fmt: skip


def earlier_row(pairing: str, mode: str, f1: float, run: str, **changed: str) -> dict[str, object]:
    return {
        "experiment": "demo", "protocol": "corrected", "arch": "scae", "pairing": pairing,
        "transfer_mode": mode, "dvc_experiment": "workspace", "certificate_hash": "1" * 64,
        "f1": f1, "repeats": 2, "run_ids": [run], "devices": ["cpu float32"], "git_shas": ["abc"],
        "start": 1,
    } | changed  # fmt: skip


# --- comparisons -----------------------------------------------------------------------------


def test_the_intra_cell_stands_first_in_both_languages_of_music() -> None:
    columns = {"task": "quadrant", "arch": "scae", "a_mode": "full", "b_mode": "full"}
    numbers = {"songs": "9", "difference": "4", "low": "-1", "high": "7", "p_corrected": "0.5"}
    pairs = [("eng", "eng2eng", "man2eng"), ("man", "eng2man", "man2man")]
    english, mandarin = read_comparisons(
        columns | numbers | {"music_language": m, "a_pairing": a, "b_pairing": b}
        for m, a, b in pairs
    )
    assert (english.a, english.difference, english.low, english.high) == ("eng2eng", 4, -1, 7)
    assert (mandarin.a, mandarin.difference, mandarin.low, mandarin.high) == ("man2man", -4, -7, 1)
    assert mandarin.sides == ("Mandarin speech", "English speech")


# --- cells -----------------------------------------------------------------------------------


def test_cells_carry_the_files_numbers(files: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    folder, tables = files
    cells, _ = read(folder)
    assert len(cells) == 2 * len(PAIRINGS) + 2 * len(CONTROLS)
    cell = next(c for c in cells if (c.mode, c.pairing) == ("full", "man2man"))
    results = pd.read_csv(folder / "results.csv")
    wanted = results.query(
        "transfer_mode == 'full' and pairing == 'man2man' and task == 'quadrant' "
        "and level == 'song' and average == 'macro'"
    )["f1"]
    assert cell.by_repeat == pytest.approx(wanted.tolist())
    assert cell.quadrant.f1 == pytest.approx(wanted.mean())
    assert cell.support == {"Q1": 6, "Q2": 6, "Q3": 6, "Q4": 6}
    table = tables["man2man"].query("transfer_mode == 'full' and segment == 0")
    counted = confusion_matrix(
        table["quadrant"], QUADRANTS[table[["q1", "q2", "q3", "q4"]].to_numpy().argmax(1)]
    )
    assert reading.song_confusions(tables["man2man"])["full"] == counted.tolist()
    assert cell.recall["Q2"] == pytest.approx(counted[1, 1] / counted[1].sum())


def test_each_mode_stands_with_its_own_control(files: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    cells, _ = read(files[0])
    groups = reading.grouped(cells, "man")
    assert list(groups) == ["Feature extraction", "Full", "Other controls"]
    names = ["man2man", "eng2man", "mix2man", "none2man"]
    assert [cell.pairing for cell in groups["Full"]] == names
    assert groups["Full"][-1].mode == "scratch"
    assert groups["Feature extraction"][-1].mode == "random_encoder"
    assert [cell.mode for cell in groups["Other controls"]] == ["majority"]
    assert reading.majority(cells, "man") == pytest.approx(0.1)  # a quarter: 2 · ¼ / (1 + ¼) / 4


# --- tables ----------------------------------------------------------------------------------


def test_latex_tables_hold_every_cell_and_escape_text(evidence: Content) -> None:
    text = latex_table(evidence.cells, "eng", "arousal", synthetic=True)
    rows = [
        line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    ]
    assert len(rows) == 1 + 6 + 3
    assert all(row.count("&") == 3 for row in rows)
    cell = next(c for c in evidence.cells if (c.mode, c.pairing) == ("full", "mix2eng"))
    assert f"mixed speech & {cell.scores['arousal', 'macro'].f1:.3f} & [" in text
    assert SYNTHETIC in text
    assert SYNTHETIC not in latex_table(evidence.cells, "eng", "arousal", synthetic=False)
    assert text.count("{") == text.count("}")
    assert escape("50 % of a_b & −3") == r"50 \% of a\_b \& $-$3"


def test_the_summary_names_every_cell_models_and_page(evidence: Content) -> None:
    page = Path("build/report/index.html")
    text = summary_text(evidence.cells, evidence.decisions, True, page, None, evidence.answers)
    assert text.startswith(SYNTHETIC)
    for one in evidence.answers:
        assert f"{one['question']} UNDECIDED" in text
        assert one["sentence"] in " ".join(text.split())
    for cell in evidence.cells:
        assert f"{cell.quadrant.f1:.2f} [{cell.quadrant.low:.2f}, {cell.quadrant.high:.2f}]" in text
    assert (
        "mer-eng version 2: challenger (eng2eng, full, 2 networks averaged); not champion: lowest"
        in text
    )
    assert text.endswith(f"Report: {page}")
    real = summary_text(evidence.cells, [], False, page, None, evidence.answers)
    assert "ynthetic" not in real
    assert "No model was registered." in real
    assert max(map(len, real.splitlines())) <= 80


def block_of(evidence: Content) -> str:
    return summary_block(
        evidence.cells, evidence.decisions, True, {}, evidence.answers, "Size demo, 2 cores."
    )


def test_only_the_block_between_the_markers_is_written(evidence: Content) -> None:
    path = Path("README.md")
    old = "# Title\n<!-- summary -->\nold 0.99\n<!-- /summary -->\nmore\n"
    new = with_block(old, block_of(evidence), path)
    assert new.startswith("# Title\n<!-- summary -->\n**Synthetic data")
    assert new.endswith("<!-- /summary -->\nmore\n")
    assert "0.99" not in new
    assert "Size demo, 2 cores." in new
    assert with_block(new, block_of(evidence), path) == new
    for cell in evidence.cells:
        assert f"{cell.quadrant.f1:.2f} [{cell.quadrant.low:.2f}, {cell.quadrant.high:.2f}]" in new
    for wrong in ("no markers", old + old, "<!-- summary -->\n"):
        with pytest.raises(UserError, match=r"README.md: \d blocks between <!-- summary --> and"):
            with_block(wrong, "", path)


def test_a_readme_that_says_otherwise_is_found_out(evidence: Content) -> None:
    path, text = Path("README.md"), block_of(evidence)

    def wrong(text: str) -> list[str]:
        return contradictions(text, evidence.decisions, evidence.answers, path)

    assert wrong(text) == []
    assert wrong(text.replace("0.", "1.")) == []  # scores may differ by machine
    assert wrong(text.replace("| mer-eng | challenger |", "| mer-eng | champion |")) == [
        "mer-eng: this run says challenger, README.md says champion"
    ]
    assert wrong(text.replace("help? | undecided", "help? | yes")) == [
        "Does pretraining on speech help?: this run says undecided, README.md says yes"
    ]
    assert len(wrong(text.replace("| undecided |", ""))) == 3


# --- the page --------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what must hold of any page, and that every element is closed where it should be."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[str] = []
        self.questions: list[str] = []  # of the figures
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "caption":
            self.captions.append("")
        if tag == "figcaption":
            self.questions.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self.open:
            self.captions[-1] += data
        if "figcaption" in self.open:
            self.questions[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_stands_by_itself_and_is_accessible(evidence: Content) -> None:
    text = render(evidence)
    page = Page(text)
    assert [script.get("src") for script in page.named("script")] == [None]
    assert not page.named("link")
    assert "http" not in text.replace("http-equiv", "").replace(MLFLOW.base, "")
    assert not re.search(r"url\(|@import", text)
    ids = {attributes.get("id") for _, attributes in page.elements}
    targets = [str(a["href"]) for a in page.named("a") if not a["href"].startswith(MLFLOW.base)]
    assert targets
    assert len(targets) < len(page.named("a"))
    assert all(target and target.startswith("#") and target[1:] in ids for target in targets)
    plots = len([table for table in page.named("table") if table.get("class") == "plot"])
    assert len(page.captions) + plots == len(page.named("table"))  # a plot has its figure's
    assert all(th.get("scope") for th in page.named("th"))
    assert all(image.get("alt") for image in page.named("img"))
    pictures = [svg for svg in page.named("svg") if svg.get("role") == "img"]
    assert len(pictures) >= len(evidence.cells)
    assert all(svg.get("aria-label") for svg in pictures)


def test_synthetic_is_said_once_on_top_and_never_of_real_data(evidence: Content) -> None:
    text = render(evidence)
    assert text.count(SYNTHETIC) == 1
    assert text.index(SYNTHETIC) < text.index("<h1>")
    nav = text[text.index("<nav") : text.index("</nav>")]
    assert "synthetic data" in nav  # in view all the way down
    assert "ynthetic" not in render(replace(evidence, synthetic=False))


def test_the_navigation_stays_in_view() -> None:
    css = (Path(reading.__file__).with_name("report.css")).read_text()
    assert re.search(r"^nav \{[^}]*position: sticky; top: 0;", css, re.MULTILINE)


def test_every_figure_answers_a_stated_question(evidence: Content) -> None:
    page = Page(render(evidence))
    assert len(page.questions) == len(page.named("figure"))
    assert len(page.questions) == 2 + 1 + 1 + 3 + 2  # scores, settings, power, curves, confusions
    assert all("?" in question for question in page.questions)
    asked = [question.split("?")[0] for question in page.questions]
    assert len(set(asked)) == len(asked)


def test_each_comparison_is_printed_once_and_without_a_verdict(evidence: Content) -> None:
    text = render(evidence)
    section = text[text.index('id="comparisons"') : text.index('id="matrix"')]
    assert section.count("<tr>") == 1 + 3 * len(evidence.comparisons)
    for one in evidence.comparisons:
        interval = f"[{reading.signed(one.low)}, {reading.signed(one.high)}]"
        assert text.count(interval) == section.count(interval) > 0
    for word in ("better", "worse", "undecided", "supported", "refuted"):
        assert word not in section
    alone = render(replace(evidence, matrix=[], matrix_tests={}))
    assert alone.count("<td>English speech − random encoder</td>") == 2  # a music set each


def test_what_was_planted_stands_beside_what_was_found(evidence: Content) -> None:
    text = render(evidence)
    section = text[text.index('<section id="truth"') : text.index('<section id="power"')]
    assert section.count("2 of 2") == 2
    assert "1: supported" in section
    assert "2: undecided" in section
    bare = render(replace(evidence, truth=[], power=[]))
    assert "<code>make truth</code> plants a known effect" in bare
    assert 'id="power"' not in bare


def test_what_is_out_of_reach_is_no_point_of_the_power_curve() -> None:
    rows = [
        {"songs": 20.0, "repeats": 2.0, "points": None},
        {"songs": 60.0, "repeats": 2.0, "points": 40.0},
        {"songs": 600.0, "repeats": 2.0, "points": 10.0},
        {"songs": 600.0, "repeats": 4.0, "points": "out of reach"},
    ]
    found = power_lines(rows)
    assert [(p["x"], p["y"]) for p in found["lines"][2]] == [(0.0, 0.0), (100.0, 75.0)]
    assert list(found["lines"]) == [2]
    assert [songs for songs, _ in found["ticks"]] == [60.0, 100, 300, 600.0]
    assert power_lines(rows[:2]) == {}  # one point is no curve


def test_numbers_of_the_files_are_on_the_page(evidence: Content) -> None:
    text = render(evidence)
    for cell in evidence.cells:
        assert f"{cell.quadrant.f1:.2f} </span>" in text or f">{cell.quadrant.f1:.2f}<" in text
    for one in evidence.comparisons:
        assert f"{reading.signed(one.difference)}</a></td>" in text
    assert "lowest recall &lt;0&gt;" in text
    assert "mean log mel alone</th></tr>" in text.replace(' class="num"', "")
    assert ">0.68</td>" in text
    assert "&lt;b&gt;x&lt;/b&gt;.mp3" in text
    assert "0.09" in text  # hours of speech
    assert text.count("this run</span>") == 1


LISTENERS = {
    "eng": {
        "majority_share": 0.9,
        "sign_agreement": {"arousal": 0.8, "valence": None},
        "ceiling": {
            "quadrant": {"macro_f1": 0.8123, "low": 0.7, "high": 0.9},
            "arousal": {"macro_f1": 0.9, "low": 0.85, "high": 0.95},
        },
        "confusion": np.diag([0.71, 0.72, 0.73, 0.74]).tolist(),
    }
}


def test_what_listeners_reach_stands_in_every_table(evidence: Content, tmp_path: Path) -> None:
    heard = Content(**{**vars(evidence), "listeners": LISTENERS})
    text = render(heard)
    Page(text)
    assert text.count("one against the others") == 2  # the plot and the table of all tasks
    assert "[0.70, 0.90]" in text
    assert text.count(">71</td>") >= 1  # told alike, Q1
    for kind in ("listeners, each other", "networks, pretrained", "networks, not pretrained"):
        assert kind in text
    write_report(heard, tmp_path)
    assert "0.812 & [0.70, 0.90] & --" in (tmp_path / "tables/eng-quadrant.tex").read_text()
    for absent in ("eng-valence", "man-quadrant"):  # no ceiling there: no line
        assert "one listener" not in (tmp_path / f"tables/{absent}.tex").read_text()
    ceilings = reading.read_ceilings(LISTENERS)
    short = summary_text(evidence.cells, [], False, tmp_path / "index.html", ceilings)
    assert "one listener against the rest 0.81 [0.70, 0.90]" in short
    assert "one listener" not in summary_text(evidence.cells, [], False, tmp_path)


def test_agreement_by_quadrant_takes_recalls_of_the_right_cells(evidence: Content) -> None:
    found = reading.agreement_by_quadrant(LISTENERS, evidence.cells)["eng"]
    assert [found[q]["listeners"] for q in QUADRANTS.tolist()] == [0.71, 0.72, 0.73, 0.74]
    for kind, control in (("pretrained", False), ("not pretrained", True)):
        recalls = [
            cell.recall["Q2"]
            for cell in evidence.cells
            if cell.music == "eng" and cell.control == control
            and (not control or cell.mode in ("random_encoder", "scratch"))
        ]  # fmt: skip
        assert found["Q2"][kind] == pytest.approx(np.mean(recalls))


def test_claim_eleven_stands_by_the_listeners(evidence: Content) -> None:
    claim = {
        "claim": "11", "sentence": "They agree less.", "source": "Section 4.1", "verdict": "refuted",
        "effect": -0.2, "low": -0.3, "high": -0.1, "unit": "alpha", "p_corrected": 0.01, "test": "t",
        "notes": [], "missing": "", "command": "", "songs": 60, "run_ids": [],
    }  # fmt: skip
    text = render(Content(**{**vars(evidence), "claims": [claim], "listeners": LISTENERS}))
    section = text[text.index('id="listeners"') : text.index('id="registry"')]
    assert "<b>refuted</b>, −0.20 [−0.30, −0.10] alpha, p 0.010." in section


def test_kinds_of_labels_stand_beside_each_other(evidence: Content) -> None:
    assert "Only <code>majority</code> labels were learned from" in render(evidence)
    row = {
        "music_language": "eng", "mode": "full", "pairing": "man2eng", "a_labels": "majority",
        "b_labels": "soft", "songs": 17, "difference": -12.0, "low": -20.0, "high": -4.0,
        "p_songs": 0.01, "p_repeats": 0.02, "p_corrected": 0.04,
    }  # fmt: skip
    text = render(Content(**{**vars(evidence), "labels": [row]}))
    Page(text)
    assert 'majority − soft</td><td class="num">−12' in text
    assert "learned from so far" not in text


def test_leaks_are_said_before_any_answer(evidence: Content) -> None:
    assert "not held out" not in render(evidence)
    certificate = dict(evidence.certificate) | {"leaks": ["music-eng: clip 3 is in test and train"]}
    text = render(Content(**{**vars(evidence), "certificate": certificate}))
    assert text.index("1 leak: test songs were not held out") < text.index("<h1>")
    assert "clip 3 is in test and train" in text


def test_absent_stages_are_a_sentence_each(evidence: Content) -> None:
    bare = Content(
        cells=evidence.cells,
        comparisons=[],
        synthetic=False,
        params=PARAMS,
        average="weighted",
        provenance=PROVENANCE,
    )
    text = render(bare)
    Page(text)
    for command in ("evaluate", "pretrain", "agreement", "split", "register"):
        assert f"<code>recitative {command}</code> writes it" in text
    assert "MLflow holds no run" in text
    assert "The answers are absent from this run; <code>recitative claims</code>" in text


def test_everything_is_written_beside_the_page(evidence: Content, tmp_path: Path) -> None:
    page = write_report(evidence, tmp_path)
    assert page == tmp_path / "index.html"
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {
        "forest-eng", "forest-man", "confusion-eng", "confusion-man", "differences-pretraining",
        "differences-language", "pretraining", "settings",
    }  # fmt: skip
    assert len(list((tmp_path / "tables").glob("*.tex"))) == 6 + 2
    rows = read_csv(tmp_path / "tables" / "table-1.csv")
    assert {row["arch"] for row in rows} == {"scae", "cpc"}
    assert not list(tmp_path.rglob("*.partial*"))


def test_small_figures_of_the_page() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123, 0.0996, 0.5, 1.0)] == [
        "< 0.001", "0.012", "0.10", "0.50", "1.00",
    ]  # fmt: skip
    history = [
        {"epoch": 0.0, "train_loss": 3.0, "validation_loss": 2.0, "best": 1.0},
        {"epoch": 1.0, "train_loss": 1.0, "validation_loss": 2.5, "best": 0.0},
    ]
    (panel,) = curves({"eng": history})
    assert panel["best_epoch"] == 1
    assert panel["lines"]["train"] == "0.00,6.00 100.00,94.00"  # high loss above low loss
    one = curves({"eng": history[:1]})  # a single epoch has no width
    assert one[0]["best"] == (0.0, 94.0)


def test_earlier_runs_on_other_songs_are_lines_of_their_own(evidence: Content) -> None:
    lines = earlier_table(evidence.earlier, evidence.earlier[:1])
    assert [line["f1"] for line in lines] == [
        {"eng2eng": 0.44, "none2eng": 0.33},
        {"eng2eng": 0.22},
    ]
    assert [line["present"] for line in lines] == [True, False]


# --- earlier results in MLflow ---------------------------------------------------------------


def test_of_a_repeat_trained_twice_the_latest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, start: int, f1: float | None, **tags: str) -> SimpleNamespace:
        labels = {
            "experiment": "1", "protocol": "paper", "arch": "cpc", "pairing": "eng2man",
            "transfer_mode": "full", "repeat": "0", "dvc_experiment": "e", "certificate_hash": "c",
        }  # fmt: skip
        metrics = {} if f1 is None else {"test_quadrant_f1": f1}
        return SimpleNamespace(
            info=SimpleNamespace(run_id=name, start_time=start),
            data=SimpleNamespace(tags=labels | tags, metrics=metrics),
        )

    pages = {
        None: ([run("new", 9, 0.5), run("parent", 8, None, repeat="all")], "next"),
        "next": ([run("other", 7, 0.7, repeat="1"), run("old", 1, 0.1),
                  run("elsewhere", 0, 0.2, certificate_hash="d")], None),
    }  # fmt: skip

    class Pages(list):  # type: ignore[type-arg]
        token: str | None

    def search_runs(*_: object, page_token: str | None, **__: object) -> Pages:
        found, token = pages[page_token]
        page = Pages(found)
        page.token = token
        return page

    monkeypatch.setattr(past_runs, "client", lambda: SimpleNamespace(search_runs=search_runs))
    monkeypatch.setattr(past_runs, "experiment_id", lambda: "0")
    rows = past_runs.earlier_results()
    assert [(row["f1"], row["repeats"], row["run_ids"]) for row in rows] == [
        (pytest.approx(0.6), 2, ["new", "other"]),
        (0.2, 1, ["elsewhere"]),
    ]


# --- the stage -------------------------------------------------------------------------------


def test_the_embedded_corpus_is_known_by_readme_or_artists(tmp_path: Path) -> None:
    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    assert not stage.is_synthetic(data, index)
    write_csv(index / "music-man.csv", ["id", "group"], [{"id": 1, "group": "Faye Wong"}])
    (data / "README.txt").write_text("My own songs.")
    assert not stage.is_synthetic(data, index)
    write_csv(index / "music-eng.csv", ["id", "group"], [{"id": 1, "group": "Synthetic artist 03"}])
    assert stage.is_synthetic(data, index)
    (index / "music-eng.csv").unlink()
    (data / "README.txt").write_text("This corpus is SYNTHETIC.")
    assert stage.is_synthetic(data, index)


def test_without_results_the_stage_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="recitative evaluate"):
        stage.evaluated_cells()


def test_the_command_writes_the_readme_and_checks_it(
    files: tuple[Path, dict[str, pd.DataFrame]],
    evidence: Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    params = ("--params", str(Path(__file__).parents[2] / "params.yaml"))
    shutil.copytree(files[0], tmp_path / "build/evaluate")
    write_json(tmp_path / "build/claims/claims.json", evidence.claims)
    write_json(tmp_path / "build/claims/answers.json", evidence.answers)
    write_json(tmp_path / "build/registry/decision.json", evidence.decisions)
    readme = tmp_path / "README.md"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["summary", *params, *arguments])
        return str(done.exception) if done.exception else done.output

    assert run("--markdown", "README.md").startswith("README.md: cannot be read")
    readme.write_text("# Mine\n")
    assert run("--markdown", "README.md").startswith("README.md: 0 blocks between")
    assert readme.read_text() == "# Mine\n"
    readme.write_text("# Mine\n<!-- summary -->\n<!-- /summary -->\n")
    assert "README.md says nothing; `recitative summary --markdown README.md`" in run(
        "--check", "README.md"
    )
    assert run("--markdown", "README.md") == "README.md: its summary is that of this run\n"
    assert run("--markdown") in readme.read_text()
    assert re.search(
        r"Size demo, protocol corrected, \d+ cores of .+, \d{4}-\d\d-\d\d, ", readme.read_text()
    )
    assert "are those of this run" in run("--check", "README.md")
    told = [dict(one) | {"alias": "champion"} for one in evidence.decisions]
    write_json(tmp_path / "build/registry/decision.json", told)
    assert run("--check", "README.md").startswith(
        "mer-eng: this run says champion, README.md says challenger; `recitative summary"
    )


def test_a_build_of_an_older_version_is_one_line(
    files: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate, claims = tmp_path / "build/evaluate", tmp_path / "build/claims"
    shutil.copytree(files[0], evaluate)
    assert len(stage.evaluated_cells()) == 18
    rows = read_csv(evaluate / "summary.csv")
    older = [name for name in SUMMARY_COLUMNS if name != "high"]
    write_csv(evaluate / "summary.csv", older, ({n: row[n] for n in older} for row in rows))
    with pytest.raises(
        UserError,
        match=r"^build/evaluate/summary.csv has no high: an older version wrote build/evaluate; "
        r"run `dvc repro`$",
    ):
        stage.evaluated_cells()
    assert stage.told_answers() == []
    claims.mkdir()
    (claims / "claims.json").write_text(json.dumps([{"claim": "1"}]))
    with pytest.raises(
        UserError, match=r"^build/claims/answers.json is not there: an older version"
    ):
        stage.told_answers()
    with pytest.raises(UserError, match=r"^build/claims/claims.json has no sentence, source"):
        stage.json_or(Path("build/claims/claims.json"), [])
    truth = tmp_path / "build/truth/truth.json"
    truth.parent.mkdir()
    truth.write_text(json.dumps([{"effect": "none"}]))
    with pytest.raises(UserError, match=r"truth.json has no seed, .*; run `make truth`$"):
        stage.json_or(Path("build/truth/truth.json"), [])


def test_every_run_is_named_by_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "eng2eng"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"parent": "p", "full": {"0": "a", "1": "b"}}))
    assert list(stage._runs({"eng2eng": folder, "man2eng": tmp_path / "absent"})) == [
        ("eng2eng full 0", "a"),
        ("eng2eng full 1", "b"),
    ]


def test_the_answers_are_tags_of_the_run_and_of_the_models(
    evidence: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "build/claims/answers.json", evidence.answers)
    decisions = [{"model": name, "version": "1"} for name in ("mer-eng", "mer-man")]
    whole = [dict(evidence.decisions[0]) | one for one in decisions]
    write_json(tmp_path / "build/registry/decision.json", whole)
    tagged: dict[str, dict[str, str]] = {}

    def resolve(address: str) -> str:
        if address == "mer-man/1":
            raise UserError("mer-man/1: no such model in the registry")
        return address

    def open_run(name: str, labels: object, tags: dict[str, str], **_: object) -> Any:
        tagged[name] = tags
        return contextlib.nullcontext()

    monkeypatch.setattr(stage.registry, "resolve", resolve)
    monkeypatch.setattr(stage.registry, "describe", tagged.__setitem__)
    monkeypatch.setattr(stage, "open_run", open_run)
    monkeypatch.setattr(stage, "parent_run_id", lambda: None)
    for of in ("labels", "provenance"):
        monkeypatch.setattr(stage.identity, of, lambda *_: {})
    stage._log(None, tmp_path / "empty")  # type: ignore[arg-type]
    words = {f"answer.{one['id']}": one["verdict"] for one in evidence.answers}
    assert tagged == {"mer-eng/1": words, "report": words}
    assert words["answer.pretraining"] == "undecided"
    assert "no tags with the answers: mer-man/1: no such model" in capsys.readouterr().out


def test_a_missing_control_is_named_and_one_left_out_with_a_reason_is_not(
    evidence: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    one = evidence.cells[0]
    cells = [
        replace(one, pairing=f"none2{m}", mode=c)
        for m in ("eng", "man")
        for c in stage.ALL_CONTROLS
    ]
    monkeypatch.setattr(stage, "evaluated_cells", lambda: cells)
    stage._check_controls()
    assert "every control is there" in capsys.readouterr().out
    cells[:] = [cell for cell in cells if cell.mode not in ("opensmile_svm", "scratch")]
    for music in ("eng", "man"):
        path = tmp_path / "build/controls" / music / "missing.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"opensmile_svm": "not installed"}))
    with pytest.raises(UserError, match=r"none2eng scratch, none2man scratch; put them into"):
        stage._check_controls()
    assert "none2eng opensmile_svm: left out, and the report says so" in capsys.readouterr().out


def test_a_control_that_was_left_out_is_said_once_with_its_reason(
    evidence: Content,
) -> None:
    why = {"opensmile_svm": "install it: `pip install opensmile`"}
    text = render(replace(evidence, missing={"eng": why, "man": why}))
    said = "openSMILE + SVM: install it: <code>pip install opensmile</code>."
    assert text.count(f"Left out on English music and Mandarin music: {said}") == 1
    assert text.count("pip install") == 1
