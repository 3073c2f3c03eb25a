"""Opening a study: made once, refused where it searched another space, copied to travel."""

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study

from recitative.errors import UserError
from recitative.files import atomic_path
from recitative.learning.search.plan import Plan
from recitative.learning.search.sampling import OneATrial, pruner_of
from recitative.learning.search.storage import check_lines, claim_lock, database, journal

_SPACE, _FAMILY = "space", "family"  # attributes of a study


def open_study(plan: Plan, *, create: bool = True, kept: Path | None = None) -> Study:
    """The study of a plan, with the plan's sampler and pruner.

    Args:
        plan: which study.
        create: make it where it is not there; else it must be there.
        kept: a file that `keep_copy` wrote: where the storage lacks the study, it goes on from there.

    Raises:
        UserError: the storage cannot be read or reached, there is no such study, or it, or one like
            it, searched another space.
    """
    with claim_lock(plan):
        storage = database(plan) if plan.is_database else journal(Path(plan.storage))
        studies = {study.study_name: study.user_attrs for study in _summaries(storage)}
        if plan.name not in studies:
            if not create:
                raise UserError(
                    f"{plan.shown}: no study {plan.name} (there: {', '.join(studies) or 'none'}); "
                    "start `recitative search` there first, with the same params.yaml and features"
                )
            if kept and kept.is_file():
                _restore(plan, storage, kept)
        sampler = OneATrial(plan)
        study = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            direction="maximize" if plan.maximize else "minimize",
            load_if_exists=True,
            sampler=sampler,
            pruner=pruner_of(plan),
        )
        sampler.study = study
        here = {name: str(dimension) for name, dimension in sorted(plan.space.items())}
        if _SPACE in study.user_attrs:
            _refuse_another(plan, plan.name, study.user_attrs[_SPACE], here)
        else:
            for name, attributes in studies.items():
                if (
                    attributes.get(_FAMILY) == plan.family
                    and attributes[_SPACE].keys() != here.keys()
                ):
                    optuna.delete_study(study_name=plan.name, storage=storage)
                    _refuse_another(plan, name, attributes[_SPACE], here)
            study.set_user_attr(_FAMILY, plan.family)
            study.set_user_attr(_SPACE, here)
    return study


def _refuse_another(plan: Plan, name: str, there: dict[str, str], here: dict[str, str]) -> None:
    changed = [
        f"{key} was {there.get(key, 'not searched')}, is {here.get(key, 'not searched')}"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if changed:
        raise UserError(
            f"{plan.shown}: the study {name} searched another space ({'; '.join(changed)}); put "
            "the old space back, or start a new study with `-S search.study=NAME`"
        )


def _summaries(storage: BaseStorage) -> list[Any]:
    return list(optuna.get_all_study_summaries(storage, include_best_trial=False))


def _restore(plan: Plan, storage: BaseStorage, kept: Path) -> None:
    check_lines(kept)
    source = JournalStorage(JournalFileBackend(str(kept)))
    if plan.name in [study.study_name for study in _summaries(source)]:
        optuna.copy_study(from_study_name=plan.name, from_storage=source, to_storage=storage)


def keep_copy(plan: Plan, path: Path) -> None:
    """Write the study as a journal file of its own, for `open_study` to go on from elsewhere."""
    study = open_study(plan, create=False)
    with atomic_path(path) as temporary:
        target = JournalStorage(JournalFileBackend(str(temporary)))
        optuna.copy_study(from_study_name=plan.name, from_storage=study._storage, to_storage=target)
