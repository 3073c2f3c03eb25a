"""`recitative search`: Bayesian search of the pretraining's parameters -> build/search/.

Reads the features and the split of `search.language` alone, and of those the training and validation
parts. (The certificate's number is read as a tag; `recitative pretrain` refuses a leaky split.)

The study lives in the original repository's .recitative/search/journal.log, not in an output of the
stage: DVC would throw it away with the workspace of a killed `dvc exp run --temp`, and two experiments
at once would each have their own. `build/search/study.log`, a `persist: true` output, is a copy of
the present study that travels with `dvc push`: where the journal lacks the study, it goes on from there.

A study is named by its architecture, role, label and a hash of what makes its trials comparable
(features, split, model, amounts, seed), so that another architecture has a study of its own, and coming
back to one finds it whole.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import torch

from recitative.errors import UserError
from recitative.experiment import labels as identity
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import SEARCH, SPLITS
from recitative.experiment.searched import BEST, PAGE, searchable, space_of, with_values, write_best
from recitative.experiment.speech import read_speech
from recitative.experiment.work import content_key
from recitative.files import write_csv
from recitative.learning import search
from recitative.learning.compute import Compute
from recitative.learning.pretraining import Speech, at_most, objective_of, prepare
from recitative.learning.training import fit
from recitative.params import Params
from recitative.reports.search_page import write_search_page
from recitative.seeding import derive_rng, derive_seed
from recitative.tracking.runs import open_run, parent_run_id, reap
from recitative.tracking.store import project_root

TRIALS, COPY = SEARCH / "trials.csv", SEARCH / "study.log"
_RUN_ID = "run_id"  # attribute of the study and of each trial
_POLL = 1.0  # s between looks at trials that run elsewhere
_SECTIONS = ("pretrain", "encoder", "features", "balance")


def run(params: Params, join: bool = False, where: bool = False) -> None:
    """Search until the study holds `search.trials` finished trials; write the best and all of them.

    Args:
        params: all of them.
        join: only help a search that runs elsewhere on the same storage; write nothing.
        where: only print the storage.
    """
    storage = _storage(params)
    if where:
        click.echo(storage)
        return
    total = params.search.trials
    if not total:
        click.echo("search.trials is 0: no search, params.yaml's values hold")
        _write_nothing()
        return
    plan = _plan(params, storage)
    if join:
        study = search.open_study(plan, create=False)
        begun = study.user_attrs
        if _RUN_ID not in begun:
            raise UserError(f"{plan.shown}: the study {plan.name} has not begun yet; try again")
        _rounds(params, plan, study, begun["trials"], begun[_RUN_ID], join)
        return
    study = search.open_study(plan, kept=COPY)
    reap()
    now = search.progress(study)
    click.echo(f"study {plan.name} in {plan.shown}: {now.finished} of {total} trials are there")
    study.set_user_attr("trials", total)  # whoever joins knows how far to go
    if now.finished < total:
        with _tracked(params, plan, study) as tracked:
            study.set_user_attr(_RUN_ID, tracked.id)
            failed = _rounds(params, plan, study, total, tracked.id)
            _write(params, plan, study)
            found = search.best(study)
            tracked.log_metrics({"best_value": found.value, "best_trial": found.trial} | failed)
            for path in (BEST, TRIALS, PAGE):
                tracked.log_artifact(path)
    else:
        _write(params, plan, study)


def _storage(params: Params) -> str:
    """The journal's absolute path, or the database's URL with its environment variables filled in."""
    given = os.path.expandvars(params.search.storage)
    if given == "journal":
        return str(project_root() / ".recitative" / "search" / "journal.log")
    return given if "://" in given else str(project_root() / given)


def _plan(params: Params, storage: str) -> search.Plan:
    config, arch, role = params.search, params.pretrain.arch, params.search.language
    space = space_of(params)
    sections = searchable(params)
    features = params.features
    fixed = {name: getattr(getattr(params, section), name) for name, section in sections.items()}
    family = content_key(
        identity.feature_hash(role),
        SPLITS / f"{role}.csv",
        {k: v for k, v in params.encoder.model_dump(mode="json").items() if k not in sections},
        [features.segment_frames, features.segment_hop, params.pretrain.decay_per],
        [config.epochs, config.seeds, config.max_segments, params.seed],
        [arch, role, config.study],
    )
    key = content_key(family, {name: fixed[name] for name in sorted(fixed.keys() - space.keys())})
    return search.Plan(
        storage=storage,
        name=f"{arch}-{role}-{config.study}-{key[:8]}",
        family=family,
        space=space,
        maximize=objective_of(arch).maximize,
        epochs=config.epochs,
        seed=params.seed,
        sampler=config.sampler,
        startup=config.startup,
        pruner=config.pruner,
        heartbeat=config.heartbeat,
    )


def _tracked(params: Params, plan: search.Plan, study: Any) -> Any:
    """The study's run, the same one for as long as the study is searched."""
    role = params.search.language
    known = study.user_attrs.get(_RUN_ID)
    cell = identity.labels(params, Compute.decide(params.compute), "none", "none", "search", "all")
    resume = project_root() / ".recitative" / "search" / f"{plan.name}.run_id"
    if known:
        resume.parent.mkdir(parents=True, exist_ok=True)
        resume.write_text(known)
    cell["speech_language"] = role.removeprefix("speech-")
    config = params.search.model_dump(mode="json", exclude={"storage", "space"})
    about = {f"search.{name}": value for name, value in config.items()}
    about |= {f"search.space.{name}": str(dimension) for name, dimension in plan.space.items()}
    return open_run(
        f"search {plan.name}",
        identity.run_params(params, cell, params.pretrain.arch, *_SECTIONS) | about,
        cell
        | identity.provenance("search", role)
        | {"search_study": plan.name, "search_objective": objective_of(params.pretrain.arch).name},
        [identity.inputs(role, "training")],
        parent_run_id(),
        resume,
        measure=False,
    )


def _rounds(
    params: Params, plan: search.Plan, study: Any, total: int, run_id: str, join: bool = False
) -> dict[str, float]:
    """Start workers until the study has its total; give how many trials failed.

    Raises:
        UserError: too many trials fail, or the workers themselves.
    """
    since, idle = len(study.trials), 0
    while True:
        now = search.progress(study, since)
        if now.finished >= total:
            return {"failed_trials": len(now.reasons)}
        if now.hopeless(total):
            raise UserError(
                f"study {plan.name}: {len(now.reasons)} trials failed and {now.finished} finished, "
                f"the last failed because: {now.reasons[-1]}; narrow search.space, or mend that"
            )
        if not search.claimable(plan, study, total, since):
            if join:
                return {}
            time.sleep(_POLL)  # the last trials run on another machine
            continue
        count = min(params.search.workers or params.compute.processes, total - now.finished)
        exits = _side_by_side(_Work(params, plan, total, since, run_id), count)
        reap()
        idle = idle + 1 if search.progress(study, since) == now else 0
        if any(code > 0 for code in exits) or (idle >= 2 and any(exits)):
            raise UserError(
                f"study {plan.name}: every worker ended before its trial (exit codes {exits}); "
                "see above, or lower search.workers if memory was short; what is finished is kept"
            )


@dataclass(frozen=True)
class _Work:
    """What a worker process is told."""

    params: Params
    plan: search.Plan
    total: int
    since: int
    run_id: str


def _side_by_side(work: _Work, count: int) -> list[int]:
    """Run worker processes to their end; their exit codes. One that dies leaves the others alone."""
    if work.params.compute.backend != "loky":
        return in_parallel(_exit_code, [(work,)] * count, work.params.compute)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_work, args=(work,)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    return [process.exitcode or 0 for process in processes]


def _exit_code(work: _Work) -> int:
    """Work as a task of a cluster, which is no process of its own."""
    try:
        _work(work)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def _work(work: _Work) -> None:
    params = work.params
    torch.set_num_threads(params.compute.threads)
    stage = multiprocessing.parent_process()
    try:
        search.work(
            work.plan,
            partial(_objective, work, read_speech(params.search.language, params.features)),
            work.total,
            work.since,
            go_on=lambda: stage is None or stage.is_alive(),
            told=_tell,
        )
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error


def _tell(trial: Any) -> None:
    state, reason = trial.state.name.lower(), trial.user_attrs.get("reason", "")
    if state == "complete":
        state, reason = f"{trial.value:.6g}", ""
    values = ", ".join(f"{name} {value:.4g}" for name, value in trial.params.items())
    click.echo(f"trial {trial.number}: {state} ({values}) {reason}".rstrip())


def _objective(work: _Work, speech: Speech, trial: search.Trial) -> float:
    """Train `search.seeds` models side by side; what the last epoch gives, averaged."""
    params = with_values(work.params, trial.values)
    arch, role, config = params.pretrain.arch, params.search.language, params.search
    compute, objective = Compute.decide(params.compute), objective_of(arch)
    fixed = {"epochs": config.epochs, "patience": 0, "keep": "last"}
    pretrain = params.pretrain.model_copy(update=fixed)
    segments = len(params.arch.offsets(speech.frames, speech.hop))
    cell = identity.labels(params, compute, "none", "none", "search", trial.number)
    cell["speech_language"] = role.removeprefix("speech-")
    tags = {"search_study": work.plan.name, "search_trial": trial.number}
    if trial.retry_of is not None:
        tags["search_retry_of"] = trial.retry_of
    pruned: search.Pruned | None = None
    value = float("nan")
    with open_run(
        f"trial {trial.number} {work.plan.name}",
        identity.run_params(
            params.model_copy(update={"pretrain": pretrain}), cell, arch, *_SECTIONS
        ),
        cell | identity.provenance("search", role) | tags,
        [identity.inputs(role, "training")],
        work.run_id,
        measure=False,
    ) as tracked:
        trial.note(_RUN_ID, tracked.id)
        fits = []
        for index in range(config.seeds):
            seed = derive_seed(params.seed, "search", arch, role, index)
            made = prepare(speech, pretrain, params.encoder, params.arch, seed)
            train, validation = made.train, made.validation
            if config.max_segments:
                most = max(2, config.max_segments // segments)
                rng = derive_rng(params.seed, "search", role, "examples")
                train, validation = (at_most(part, most, rng) for part in (train, validation))
            fits.append(fit(made.model, train, validation, made.config, compute, seed))
        try:
            for epochs in zip(*fits, strict=True):
                measured = [epoch.validation[objective.metric] for epoch in epochs]
                value = sum(measured) / len(measured) - objective.prior
                names = epochs[0].metrics()
                means = {k: sum(e.metrics()[k] for e in epochs) / len(epochs) for k in names}
                tracked.log_metrics(means | {"objective": value}, step=epochs[0].index)
                trial.report(epochs[0].index + 1, value)
            tracked.set_tags({"search_state": "complete"})
        except search.Pruned as error:
            pruned = error
            tracked.set_tags({"search_state": "pruned", "search_reason": str(error)})
        except UserError as error:
            tracked.set_tags({"search_state": "failed", "search_reason": str(error)})
            raise
    if pruned:
        raise pruned
    return value


def _write(params: Params, plan: search.Plan, study: Any) -> None:
    """Write the stage's outputs from the study."""
    found, arch = search.best(study), params.pretrain.arch
    objective = objective_of(arch)
    rows = search.table(study, list(plan.space))
    write_csv(TRIALS, list(rows[0]), rows)
    facts = {
        "study": plan.name,
        "best value": f"{found.value:.6g} ({objective.name}), trial {found.trial}",
        **{name: f"{value:.6g}" for name, value in found.values.items()},
        "trials": ", ".join(f"{count} {state}" for state, count in _states(rows).items()),
        "sampler, pruner": f"{plan.sampler}, {plan.pruner}",
    }
    drawn = search.figures(study, objective.name)
    write_search_page(PAGE, f"Search of {arch} on {params.search.language}", facts, drawn)
    search.keep_copy(plan, COPY)
    write_best(
        {
            "arch": arch,
            "study": found.study,
            "trial": found.trial,
            "objective": objective.name,
            "value": found.value,
            "values": found.values,
            "run_id": study.user_attrs[_RUN_ID],
            "trial_run_id": found.notes[_RUN_ID],
        }
    )
    shown = ", ".join(f"{name} {value:.4g}" for name, value in found.values.items())
    click.echo(f"best: {shown}: {objective.name} {found.value:.6g} (trial {found.trial})")


def _states(rows: list[dict[str, Any]]) -> dict[str, int]:
    states = [row["state"] for row in rows]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _write_nothing() -> None:
    """No search: the outputs say so."""
    write_best({})
    write_csv(TRIALS, ["trial", "state", "value"], [])
    write_search_page(PAGE, "No search", {"search.trials": 0}, {})
    if not COPY.exists():
        COPY.touch()
