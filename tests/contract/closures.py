"""The code that each stage of dvc.yaml runs: its import closure, without what cannot change a number.

``python tests/contract/closures.py`` writes them into dvc.yaml, a folder where all of it counts.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import yaml

ROOT = Path(__file__).parents[2]
SOURCE, PIPELINE = ROOT / "src", ROOT / "dvc.yaml"

# Modules that cannot change a number, and why. Neither they nor what they import is a dependency; a
# name that ends with a dot stands for a whole package.
EXEMPT = {
    "recitative": "the version",
    "recitative.cli": "the command line: it calls the stages",
    "recitative.commands.": "no stages",
    "recitative.errors": "messages",
    "recitative.processes": "whether a process runs",
    "recitative.params": "reads the values, which are in the key; what `auto` means is in switches",
    "recitative.tracking.": "records what was done",
    "recitative.reports.": "draws what was computed",
    "recitative.agreement.figures": "draws what was computed",
    "recitative.experiment.labels": "tags of the runs in MLflow",
    "recitative.experiment.parallel": "where a task runs, not what it computes",
    "recitative.experiment.places": "names of folders, which dvc.yaml lists",
    "recitative.experiment.repository": "asks DVC and git what they know",
    "recitative.experiment.work": "what is computed again, not what comes of it",
    "recitative.learning.allocation": "what is done with freed memory",
    "recitative.corpora.certificate": "refuses a split that leaks; `split` alone writes what it finds",
    "recitative.learning.checkpoint": "a resumed training ends in the same bytes (tests/pipeline)",
}
# What a stage writes for people, or reads of other experiments, is its result all the same.
STILL = {
    "split": ("recitative.corpora.certificate",),
    "search": ("recitative.reports.search_page",),
    "agreement": ("recitative.agreement.figures",),
    "claims": ("recitative.tracking.past_runs",),
    "register": ("recitative.tracking.registry", "recitative.tracking.pyfunc_model"),
    "report": ("recitative.reports.", "recitative.tracking.past_runs"),
}
# Imported by name while the program runs, which no import statement shows.
ADAPTERS = tuple(
    f"recitative.corpora.{path.stem}"
    for path in (SOURCE / "recitative/corpora").glob("*.py")
    if "@register_dataset" in path.read_text()
)
BY_NAME = {
    "recitative.models": ("recitative.models.",),
    "recitative.stages.index": ADAPTERS,
    "recitative.tracking.registry": ("recitative.tracking.pyfunc_model",),
}


def is_in(module: str, names: Iterable[str]) -> bool:
    return any(
        module == name or (name.endswith(".") and f"{module}.".startswith(name)) for name in names
    )


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("recitative", exclude_type_checking_imports=True, cache_dir=None)


@cache
def closure(stage: str) -> frozenset[str]:
    """Every module that may change what a stage writes."""
    found: set[str] = set()
    waiting = [f"recitative.stages.{stage}"]
    if "protocol" in stages()[stage].get("params", ()):
        waiting.append("recitative.switches")  # what `auto` means; params, which asks it, is exempt
    while waiting:
        module = waiting.pop()
        still = is_in(module, STILL.get(stage, ()))
        if module in found or (is_in(module, EXEMPT) and not still):
            continue
        found.add(module)
        package = module.rpartition(".")[0]
        waiting += [*graph().find_modules_directly_imported_by(module), package]
        waiting += [m for m in graph().modules if is_in(m, BY_NAME.get(module, ()))]
    return frozenset(module for module in found if does_something(module))


def does_something(module: str) -> bool:
    """Whether there is more in a file than words about it."""
    return len(ast.parse((ROOT / path_of(module)).read_text()).body) > 1


def path_of(module: str) -> str:
    """The file of a module, as dvc.yaml names it."""
    base = SOURCE / module.replace(".", "/")
    path = base.with_suffix(".py")
    path = path if path.exists() else base / "__init__.py"
    return path.relative_to(ROOT).as_posix()


@cache
def stages() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PIPELINE.read_text())["stages"]
    return found


def data_of(module: str) -> set[str]:
    """The files of the package that are no code and that a module names: tables, word lists."""
    path = ROOT / path_of(module)
    words = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    named = {f for f in path.parent.rglob("*.*") if f.name in words and f.suffix != ".py"}
    for template in [file for file in named if file.suffix == ".j2"]:
        named |= set(template.parent.glob("*.j2"))  # one includes another
    return {file.relative_to(ROOT).as_posix() for file in named}


def listed(stage: str) -> list[str]:
    """The code that dvc.yaml lists for a stage."""
    return [dep for dep in stages()[stage]["deps"] if dep.startswith("src/")]


def expected(stage: str) -> list[str]:
    """The code that it should list: files, and folders where all of a folder counts."""
    files = set(map(path_of, closure(stage)))
    files |= {file for module in closure(stage) for file in data_of(module)}
    for folder in {Path(file).parent for file in files}:
        inside = {
            path_of(module)
            for module in graph().modules
            if path_of(module).startswith(f"{folder.as_posix()}/") and does_something(module)
        }
        if inside <= files and len(inside) > 1:
            prefix = f"{folder.as_posix()}/"
            files = {f for f in files if not f.startswith(prefix)} | {folder.as_posix()}
    return sorted(files)


if __name__ == "__main__":
    text = PIPELINE.read_text()
    for name in stages():
        head, block, tail = re.split(rf"(?m)(^  {name}:\n(?:^   .*\n|^\n)*)", text, maxsplit=1)
        before, after = re.split(r"(?m)^(?=    (?:params|outs):)", block, maxsplit=1)
        kept = re.sub(r"(?m)^      - src/.*\n", "", before)
        text = head + kept + "".join(f"      - {path}\n" for path in expected(name)) + after + tail
    PIPELINE.write_text(text)
