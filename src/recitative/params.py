"""params.yaml as typed sections, with its two switches resolved.

A value `auto` is filled in by `protocol` or, where that says nothing, by `size`; a value that is
written out wins over both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, SerializeAsAny, ValidationError

from recitative.config import Section
from recitative.corpora.balance import BalanceConfig
from recitative.corpora.base import SOURCE_ROLES, DatasetConfig, parse_dataset_config
from recitative.corpora.demo import DemoConfig
from recitative.corpora.splits import SplitConfig
from recitative.errors import UserError
from recitative.evaluation import AgreementConfig, EvaluateConfig
from recitative.features.mel import FeatureConfig
from recitative.learning.config import (
    ArchConfig,
    ComputeConfig,
    ControlsConfig,
    PretrainConfig,
    TransferConfig,
)
from recitative.learning.space import SearchConfig
from recitative.models import config_of
from recitative.models.config import CPCConfig, EncoderConfig, SCAEConfig
from recitative.reports import ReportConfig
from recitative.switches import AUTO, PROTOCOLS, SIZES
from recitative.tracking import RegistryConfig

Origins = dict[str, str]

RENAMED = {"transfer.released": "transfer.finetune"}  # old: new
GONE = {"transfer.keep": "the weights of every repeat are kept"}  # old: why


class Params(Section):
    """All of params.yaml. A stage's function receives its own section, never this."""

    size: Literal["demo", "paper"]
    protocol: Literal["corrected", "paper", "released"]
    seed: int
    experiment: str
    demo: DemoConfig
    datasets: dict[str, SerializeAsAny[DatasetConfig]]
    split: SplitConfig
    balance: BalanceConfig
    features: FeatureConfig
    encoder: EncoderConfig
    scae: SCAEConfig
    cpc: CPCConfig
    search: SearchConfig = Field(default_factory=SearchConfig)
    pretrain: PretrainConfig
    transfer: TransferConfig
    controls: ControlsConfig
    agreement: AgreementConfig
    evaluate: EvaluateConfig
    registry: RegistryConfig
    report: ReportConfig
    compute: ComputeConfig = Field(default_factory=ComputeConfig)

    @property
    def arch(self) -> ArchConfig:
        """The section of the present architecture, `pretrain.arch`."""
        section: ArchConfig = getattr(self, self.pretrain.arch)
        return section


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _experiment(params: Params) -> str:
    """The paper's numbering, where the amounts are the paper's; amounts of one's own by name."""
    hours = params.balance.speech_hours, params.balance.music_hours
    speech, music = ("all" if h is None else f"{h:g}h" for h in hours)
    amounts = f"{speech}-speech-{music}-music"
    if params.size == "demo":
        usual = (SIZES["demo"][f"balance.{kind}_hours"] for kind in ("speech", "music"))
        return "demo" if hours == tuple(usual) else f"demo-{amounts}"
    return {("3h", "3h"): "1", ("30h", "3h"): "2"}.get((speech, music), amounts)


def resolve(values: dict[str, Any], source: str) -> Origins:
    """Fill in every `auto` of `values`, in place; say where each value comes from, by dotted name.

    `experiment`, `compute.device` and `compute.precision` have an `auto` of their own.

    Raises:
        UserError: a switch has an unknown value, or nothing decides an `auto`.
    """
    for switch, known in (("size", SIZES), ("protocol", PROTOCOLS)):
        if values.get(switch) not in tuple(known):
            raise UserError(
                f"{source}: {switch}: {values.get(switch)!r} is not known; "
                f"choose one of {', '.join(known)}"
            )
    by_protocol, by_size = PROTOCOLS[values["protocol"]], SIZES[values["size"]]
    origins: Origins = {}
    for name, value in flatten(values).items():
        origins[name] = source
        if value != AUTO or name in ("experiment", "compute.device", "compute.precision"):
            continue
        *sections, leaf = name.split(".")
        holder = values
        for section in sections:
            holder = holder[section]
        if name in by_protocol:
            holder[leaf], origins[name] = by_protocol[name], f"protocol: {values['protocol']}"
        elif name in by_size:
            holder[leaf], origins[name] = by_size[name], f"size: {values['size']}"
        else:
            raise UserError(f"{source}: {name}: nothing decides 'auto' here; write a value")
    return origins


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read, resolve and check the parameters.

    Raises:
        UserError: no such file, no valid YAML, or a value is wrong; with the value's dotted name.
    """
    return load_with_origins(path)[0]


def load_with_origins(path: Path) -> tuple[Params, Origins]:
    """The parameters, and where each value comes from."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run in the project's own folder") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: no parameters in it; take the project's own params.yaml")
    return _checked(values, path.name)


def params_of(values: dict[str, Any], source: str) -> Params:
    """The parameters that the content of a params.yaml means; `values` is changed.

    Raises:
        UserError: as `load_params`.
    """
    return _checked(values, source)[0]


def _checked(values: dict[str, Any], source: str) -> tuple[Params, Origins]:
    advice = {old: f"is called {new} now; rename it" for old, new in RENAMED.items()}
    advice |= {old: f"is gone: {why}; remove it" for old, why in GONE.items()}
    for old, what in advice.items():
        if any(name == old or name.startswith(f"{old}.") for name in flatten(values)):
            raise UserError(f"{source}: {old}: this parameter {what}")
    origins = resolve(values, source)
    datasets = values.get("datasets")
    if not isinstance(datasets, dict):
        datasets = {}
    for role, section in datasets.items():
        if role not in SOURCE_ROLES:
            raise UserError(
                f"{source}: datasets.{role}: unknown role; known: {', '.join(SOURCE_ROLES)}"
            )
        if isinstance(section, dict):
            with _one_line(source, f"datasets.{role}."):
                datasets[role] = parse_dataset_config(role, section)
    with _one_line(source):
        params = Params.model_validate(values)
    config_of(params.pretrain.arch)
    if params.experiment == AUTO:
        params = params.model_copy(update={"experiment": _experiment(params)})
        origins["experiment"] = "balance"
    return params, origins


@contextmanager
def _one_line(source: str, prefix: str = "") -> Iterator[None]:
    """The first complaint of a validation as one line: file, dotted name, what is wrong, value."""
    try:
        yield
    except ValidationError as error:
        detail = error.errors()[0]
        where = (prefix + ".".join(str(part) for part in detail["loc"])).strip(".")
        what = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            what = "no such parameter; is it a typo?"
        given = "" if isinstance(detail["input"], dict) else f" (got {detail['input']!r})"
        raise UserError(f"{source}: {where}: {what}{given}") from error
