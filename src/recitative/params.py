"""params.yaml as typed sections, with its two switches resolved.

A value `auto` is filled in by `protocol` or, where that says nothing, by `size`; a value that is
written out wins over both.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, SerializeAsAny, ValidationError

from recitative.config import Section
from recitative.corpora import base
from recitative.corpora.balance import BalanceConfig
from recitative.corpora.base import SOURCE_ROLES, DatasetConfig
from recitative.corpora.demo import DemoConfig
from recitative.corpora.splits import SplitConfig
from recitative.errors import UserError
from recitative.evaluation import AgreementConfig, EvaluateConfig
from recitative.features.mel import FeatureConfig
from recitative.learning import config as learning
from recitative.learning.search.space import SearchConfig
from recitative.models import ARCHITECTURES, architecture
from recitative.models.config import (
    ArchConfig,
    CPCConfig,
    EmotionConfig,
    EncoderConfig,
    SCAEConfig,
)
from recitative.reports import ReportConfig
from recitative.switches import AUTO, PROTOCOLS, SIZES, decided
from recitative.tracking import RegistryConfig

Origins = dict[str, str]

RENAMED = {"transfer.released": "transfer.finetune"}  # old: new
_SHARED = "more machines take part by compute.backend: ray or dask (docs/cluster.md)"
GONE = {  # old: why
    "transfer.keep": "the weights of every repeat are kept",
    "compute.memory_gb": "nothing depended on it",
    "evaluate.confidence": "every interval is of 95 %",
    "search.workers": "trials run side by side as compute.workers says",
    "search.storage": _SHARED,
    "search.heartbeat": _SHARED,
}


class Params(Section):
    """All of params.yaml. A stage's function receives its own section, never this."""

    size: Literal["demo", "paper"]
    protocol: Literal["corrected", "paper", "released"]
    seed: int
    experiment: str
    demo: DemoConfig
    datasets: dict[str, SerializeAsAny[DatasetConfig]]
    emotions: dict[str, Literal["Q1", "Q2", "Q3", "Q4", "none"]] = Field(default_factory=dict)
    split: SplitConfig
    balance: BalanceConfig
    features: FeatureConfig
    encoder: EncoderConfig
    scae: SCAEConfig
    cpc: CPCConfig
    emotion: EmotionConfig = Field(default_factory=EmotionConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    pretrain: learning.PretrainConfig
    transfer: learning.TransferConfig
    controls: learning.ControlsConfig
    agreement: AgreementConfig
    evaluate: EvaluateConfig
    registry: RegistryConfig
    report: ReportConfig
    compute: learning.ComputeConfig = Field(default_factory=learning.ComputeConfig)

    @property
    def section(self) -> str:
        """The section of the present architecture; one and its control with shuffled labels share it."""
        return architecture(self.pretrain.arch).section

    @property
    def arch(self) -> ArchConfig:
        """What stands in it."""
        section: ArchConfig = getattr(self, self.section)
        return section


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        deeper = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{name}.") if deeper else {f"{prefix}{name}": value}
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

    `experiment`, `compute.device` and `compute.precision` have an `auto` of their own; that of a
    name that is no parameter stays.

    Raises:
        UserError: a switch has an unknown value, or nothing decides an `auto`.
    """
    for switch, known in (("size", SIZES), ("protocol", PROTOCOLS)):
        if (given := values.get(switch)) not in tuple(known):
            choice = f"choose one of {', '.join(known)}"
            raise UserError(f"{source}: {switch}: {given!r} is not known; {choice}")
    origins: Origins = {}
    for name, value in flatten(values).items():
        origins[name] = source
        if value != AUTO or name in ("experiment", "compute.device", "compute.precision"):
            continue
        *sections, leaf = name.split(".")
        holder = values
        for section in sections:
            holder = holder[section]
        if found := decided(name, values["protocol"], values["size"]):
            holder[leaf], origins[name] = found
        elif leaf in _names(Params, sections):  # else it is misspelt, which validation tells
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
    return _checked(read_values(path), path.name)


def read_values(path: Path) -> dict[str, Any]:
    """The content of a params.yaml, as it is written.

    Raises:
        UserError: no such file, not UTF-8, no valid YAML, a key twice in one section, or an alias
            inside what it stands for.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run in the project's own folder")
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _require_plain(node, path)
        values = loader.construct_document(node) if node else None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: no parameters in it; take the project's own params.yaml")
    return values


def _require_plain(
    node: yaml.Node | None, path: Path, name: str = "", above: tuple[yaml.Node, ...] = ()
) -> None:
    """Raise UserError for a key that stands twice, or an alias that contains itself."""
    if node in above:
        at = f"{path}: line {node.start_mark.line + 1}: {name}"
        raise UserError(f"{at}: *… names what it is a part of; write the value out")
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _require_plain(item, path, f"{name}.{number}", (*above, node))
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line, dotted = key.start_mark.line + 1, f"{name}.{key.value}".lstrip(".")
        if isinstance(key, yaml.ScalarNode):
            if first := lines.get(key.value):
                raise UserError(
                    f"{path}: line {line}: {dotted} stands twice (first in line {first}); remove one"
                )
            lines[key.value] = line
        _require_plain(value, path, dotted, (*above, node))


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
            known = ", ".join(SOURCE_ROLES)
            raise UserError(f"{source}: datasets.{role}: unknown role; known: {known}")
        if isinstance(section, dict):
            with _one_line(source, base.dataset_config(role, section), f"datasets.{role}."):
                datasets[role] = base.parse_dataset_config(role, section)
    with _one_line(source, Params):
        params = Params.model_validate(values)
    architecture(params.pretrain.arch)
    sections = dict.fromkeys(known.section for known in ARCHITECTURES.values())
    if unknown := [arch for arch in params.search.space if arch not in sections]:
        raise UserError(
            f"{source}: search.space.{unknown[0]}: unknown architecture; "
            f"known: {', '.join(sections)}"
        )
    if params.experiment == AUTO:
        params = params.model_copy(update={"experiment": _experiment(params)})
        origins["experiment"] = "balance"
    return params, origins


@contextmanager
def _one_line(source: str, model: type[BaseModel], prefix: str = "") -> Iterator[None]:
    """The first complaint of a validation as one line: file, dotted name, what is wrong, value.

    A name that is no parameter comes first: what it should be called is then missing, too.
    """
    try:
        yield
    except ValidationError as error:
        every = error.errors()
        detail = next((one for one in every if one["type"] == "extra_forbidden"), every[0])
        where = (prefix + ".".join(str(part) for part in detail["loc"])).strip(".")
        what = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            *sections, name = map(str, detail["loc"])
            close = difflib.get_close_matches(name, _names(model, sections), n=1, cutoff=0.5)
            what = "no such parameter; " + (f"did you mean {close[0]}?" if close else "remove it")
        given = "" if isinstance(detail["input"], dict) else f" (got {_shown(detail['input'])})"
        raise UserError(f"{source}: {where}: {what}{given}") from error


def _names(model: type[BaseModel], sections: Sequence[str]) -> list[str]:
    """The parameters of a section, by the names that lead to it; none where it is no section."""
    for name in sections:
        field = model.model_fields.get(name)
        kind = field.annotation if field else None
        if not isinstance(kind, type) or not issubclass(kind, BaseModel):
            return []
        model = kind
    return list(model.model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:60]} … {len(text)} characters"
