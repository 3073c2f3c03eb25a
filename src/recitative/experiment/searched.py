"""The searched values in the parameters: which there are, and the best of the search in force."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import ValidationError

from recitative.errors import UserError
from recitative.experiment.places import SEARCH
from recitative.files import atomic_path, read_json
from recitative.learning.search.space import Dimension
from recitative.params import Params

BEST = SEARCH / "best.yaml"
PAGE = SEARCH / "search.html"
RUNS = SEARCH / "run.json"  # ids of the study's run and of the trials': best.yaml has none
_SHARED = dict.fromkeys(("learning_rate", "decay", "batch_size"), "pretrain")
_SHARED["dropout"] = "encoder"


def searchable(params: Params) -> dict[str, str]:
    """The parameters that can be searched, and the section of params.yaml that each stands in."""
    return _SHARED | dict.fromkeys(params.arch.model_dump(), params.section)


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with searched values in them."""
    sections = searchable(params)
    changed = {}
    for section in {sections[name] for name in values}:
        old = getattr(params, section)
        new = {name: value for name, value in values.items() if sections[name] == section}
        changed[section] = type(old).model_validate(old.model_dump() | new)
    return params.model_copy(update=changed)


def space_of(params: Params) -> dict[str, Dimension]:
    """The space of the present architecture, every dimension of it possible.

    Raises:
        UserError: an unknown name, or a value that its section does not take.
    """
    arch, config = params.section, params.search
    declared, known = config.space.get(arch, {}), searchable(params)
    here = f"params.yaml: search.space.{arch}"
    for name in declared:
        if name not in known:
            raise UserError(
                f"{here}.{name}: no such parameter to search; known: {', '.join(known)}"
            )
    names = tuple(declared) if config.over == "all" else config.over
    for name in names:
        if name not in declared:
            raise UserError(
                f"params.yaml: search.over: {name} is not in search.space.{arch}; there: "
                f"{', '.join(declared) or 'nothing'}"
            )
        for value in declared[name].probes():
            try:
                with_values(params, {name: value})
            except ValidationError as error:
                what = f"{value!r} cannot be {known[name]}.{name}: {error.errors()[0]['msg']}"
                raise UserError(f"{here}.{name}: {what}") from error
    if not names:
        raise UserError(
            f"{here}: nothing to search; name a parameter there, or set search.trials to 0"
        )
    return {name: declared[name] for name in names}


def shown(values: Mapping[str, Any]) -> str:
    """Searched values on one line."""
    texts = {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in values.items()}
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def write_best(best: Mapping[str, Any]) -> None:
    """Write best.yaml; nothing in it means that params.yaml's values hold."""
    with atomic_path(BEST) as temporary:
        temporary.write_text(yaml.safe_dump(dict(best), sort_keys=False), encoding="utf-8")


def with_best(params: Params, path: Path = BEST) -> tuple[Params, dict[str, str]]:
    """The parameters with the best values of the search, and tags that lead to its trial.

    Raises:
        UserError: a search is asked for and there is none, or it is another architecture's.
    """
    if not params.search.trials:
        return params, {"values_from": "params.yaml"}
    arch, again = params.section, "run `recitative search`"
    ids = path.with_name(RUNS.name)
    for file in (path, ids):
        if not file.is_file():
            raise UserError(f"{file}: no such file; {again}, or set search.trials to 0")
    best, runs = yaml.safe_load(path.read_text(encoding="utf-8")), read_json(ids)
    if not best:
        raise UserError(f"{path}: no search in it, but search.trials is not 0; {again}")
    if best["arch"] != arch:
        raise UserError(f"{path}: the search of {best['arch']}, pretrain.arch is {arch}; {again}")
    values = best["values"]
    click.echo(f"{shown(values)} (trial {best['trial']} of the study {best['study']})")
    return with_values(params, values), {
        "values_from": "search",
        "search_study": best["study"],
        "search_trial": str(best["trial"]),
        "search_run_id": runs["run_id"],
        "search_trial_run_id": runs["trials"][str(best["trial"])],
    }
