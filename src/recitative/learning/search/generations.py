"""How trials compete: generations that are asked for, trained, judged and told one after the other.

Successive halving (Jamieson & Talwalkar 2016) is synchronous: after epochs 1, 2, 4, … the worse half
of a generation's trials stops, once all of them have come as far. So nothing depends on which trial
was faster.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recitative.learning.search.study import Plan, Study, Trial, ask, finished, tell


@dataclass
class Outcome:
    """How far a trial's training has come: objective and validation loss epoch by epoch.

    `error` is what ended it in the epoch after these; `notes` are kept with the trial, JSON-able.
    """

    objectives: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    error: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def until(self, epoch: int) -> "Outcome":
        """What was known after an epoch."""
        error = self.error if len(self.losses) < epoch else ""
        return Outcome(self.objectives[:epoch], self.losses[:epoch], error, self.notes)

    @property
    def fault(self) -> str:
        """Why the trial fails; empty where it does not.

        It fails as soon as one epoch's loss lies above the first epoch's, whatever comes after: so it
        does not matter when one looks, and no trial gains by being stopped in time. A loss at chance
        level wanders: a hundredth is no rise.
        """
        for epoch, values in enumerate(zip(self.objectives, self.losses, strict=True), start=1):
            objective, loss = values
            if not (math.isfinite(objective) and math.isfinite(loss)):
                return f"objective {objective}, loss {loss} after epoch {epoch}"
            if loss > self.losses[0] + 0.01 * abs(self.losses[0]):
                first = f"{self.losses[0]:.6g} after the first"
                return f"diverged: loss {loss:.6g} after epoch {epoch}, {first}"
        return self.error


@dataclass(frozen=True)
class Verdict:
    """What comes of a trial: `complete`, `pruned` or `fail`, and why it did not complete."""

    state: str
    reason: str
    outcome: Outcome


Train = Callable[[Sequence[Trial], int], Sequence[Outcome]]
Judged = Callable[[Trial, Verdict], None]


def rungs(plan: Plan) -> list[int]:
    """The epochs after which a generation is judged; the last one is the end."""
    last, halving = plan.config.epochs, plan.config.pruner == "halving"
    return [2**n for n in range(last.bit_length()) if halving and 2**n < last] + [last]


def run(study: Study, plan: Plan, train: Train, judged: Judged = lambda *_: None) -> None:
    """Ask, train, judge and tell until the study holds `search.trials` finished trials.

    The study goes on where it stands. `train` trains trials up to an epoch, side by side, each from
    where it stopped before, and gives what came of each, from its first epoch on; what it raises ends
    the search. `judged` is called with each trial right before it is told, and again after a kill.

    Raises:
        UserError: as many trials failed as were asked for, and more than finished.
    """
    while finished(study) < plan.config.trials:
        trials = ask(study, plan)
        verdicts = _compete(plan, trials, train)
        for trial in trials:
            if not trial.state.is_finished():  # told before a kill
                verdict = verdicts[trial.number]
                judged(trial, verdict)
                about = verdict.outcome.notes | {"reason": verdict.reason}
                tell(study, plan, trial, verdict.state, verdict.outcome.objectives, about)


def _compete(plan: Plan, going: list[Trial], train: Train) -> dict[int, Verdict]:
    """A generation's verdicts, by the trials' numbers."""
    verdicts: dict[int, Verdict] = {}
    for rung in rungs(plan):
        ranked = []
        for trial, outcome in zip(going, train(going, rung), strict=True):
            known = outcome.until(rung)
            if known.fault:
                verdicts[trial.number] = Verdict("fail", known.fault, known)
            else:
                best = min(plan.sign * value for value in known.objectives)
                ranked.append((best, trial.number, trial, known))
        ranked.sort(key=lambda one: one[:2])
        room = len(going) if rung == plan.config.epochs else math.ceil(len(going) / 2)
        for place, (best, number, _, known) in enumerate(ranked, start=1):
            if place > room:
                why = f"halving: {plan.sign * best:.6g} after epoch {rung}, number {place}"
                verdicts[number] = Verdict("pruned", f"{why} of {len(going)}", known)
            elif rung == plan.config.epochs:
                verdicts[number] = Verdict("complete", "", known)
        going = sorted((one[2] for one in ranked[:room]), key=lambda trial: trial.number)
    return verdicts
