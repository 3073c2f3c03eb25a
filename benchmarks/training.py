"""Training steps beside the released networks in Keras: one thread each, batches of 4 songs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.keras_peer import KerasPeer
from benchmarks.rounds import Cost, Row, compare, interleave, milliseconds, timed
from recitative.learning.allocation import keep_freed_memory
from recitative.learning.compute import Compute
from recitative.learning.config import ComputeConfig
from recitative.models import build_model
from recitative.models.classifier import EmotionClassifier
from recitative.models.config import ClassifierConfig, CPCConfig, EncoderConfig, SCAEConfig

SEGMENTS = 244  # 4 songs of 61 segments
SEQUENCES = SEGMENTS // 6  # of CPC
NORMS = ("channel", "time")
# What a frozen encoder and a released one are compared with: the release's own batch norm.
TARGETS = {("scae", "channel"): 4.0, ("scae", "time"): 8.0}
CONFIGS: dict[str, Any] = {"scae": SCAEConfig(), "cpc": CPCConfig()}


def pretraining(arch: str, norm: Any) -> nn.Module:
    """The paper's network."""
    return build_model(arch, EncoderConfig(batch_norm=norm), CONFIGS[arch], 128, 31)


def classifier(arch: str, norm: Any, frozen: bool) -> EmotionClassifier:
    """Its encoder with the paper's heads."""
    encoder: Any = pretraining(arch, norm).encoder
    encoder.requires_grad_(not frozen)
    return EmotionClassifier(encoder, "flatten", ClassifierConfig())


def batch(arch: str, model: nn.Module, frozen: bool = False) -> dict[str, Tensor]:
    """Noise in the shape of what a step is given."""
    torch.manual_seed(0)
    if isinstance(model, EmotionClassifier):
        x = torch.randn(SEGMENTS, 1, 128, 31).contiguous(memory_format=torch.channels_last)
        given = {"code": torch.randn(SEGMENTS, *model.encoder.code_shape)} if frozen else {"x": x}
        classes = {"quadrant": 4, "arousal": 2, "valence": 2}
        return given | {t: torch.randint(k, (SEGMENTS,)) for t, k in classes.items()}
    if arch == "cpc":
        return {"x": torch.randn(SEQUENCES, 6, 128, 31), "clip": torch.arange(SEQUENCES)}
    return {"x": torch.randn(SEGMENTS, 1, 128, 31)}


def train_step(model: Any, given: dict[str, Tensor], compute: Compute) -> Callable[[], Cost]:
    """A step as `fit` makes it."""
    compute.place(model).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)

    def step() -> None:
        model.train()
        with compute.autocast():
            loss = model.losses(given)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return lambda: timed(step)


def test_step(model: Any, given: dict[str, Tensor], compute: Compute) -> Callable[[], Cost]:
    """A batch of validation as `validate` makes it."""
    compute.place(model)

    @torch.no_grad()
    def step() -> None:
        model.eval()
        with compute.autocast():
            model.losses(given)

    return lambda: timed(step)


def encode_step(model: EmotionClassifier, compute: Compute) -> Callable[[], Cost]:
    """A frozen encoder on one batch."""
    compute.place(model)
    x = torch.randn(SEGMENTS, 1, 128, 31).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def step() -> None:
        model.eval()
        with compute.autocast():
            model.encoder(x)

    return lambda: timed(step)


def measure(rounds: int) -> tuple[list[Row], dict[str, float]]:
    """The rows, and every median in CPU milliseconds a segment for the arithmetic."""
    torch.set_num_threads(1)
    compute = Compute.decide(ComputeConfig(device="cpu"))
    plain = Compute.decide(ComputeConfig(device="cpu", precision="float32"))
    rows, parts = [], {}
    with KerasPeer(threads=1) as keras:
        # Before freed memory is kept, so that this lever is measured too: a switch for a process.
        model = pretraining("scae", "channel")
        before = interleave({"ours": train_step(model, batch("scae", model), compute)}, rounds)
        parts["scae channel, memory given back"] = milliseconds(before["ours"], SEGMENTS)
        keep_freed_memory()
        for norm in NORMS:
            for arch in ("scae", "cpc"):
                model, other = pretraining(arch, norm), pretraining(arch, norm)
                given = batch(arch, model)
                units = given["x"].shape[0] * given["x"].shape[1]
                costs = interleave(
                    {
                        "ours": train_step(model, given, compute),
                        "float32": train_step(other, given, plain),
                        "test": test_step(model, given, compute),
                        "keras": keras.side("train", arch, norm, units),
                        "keras test": keras.side("test", arch, norm, units),
                    },
                    rounds,
                )
                shown = f"{arch.upper()} pretraining step, {norm}"
                for side, what, target in (
                    ("ours", shown, TARGETS.get((arch, norm), 0)),
                    ("float32", f"{shown}, ours in float32", 0),
                ):
                    rows.append(
                        compare(
                            costs, side, "keras", units, what, f"Keras, {norm}", "segment", target
                        )
                    )
                parts |= {f"{arch} {norm} {k}": milliseconds(v, units) for k, v in costs.items()}
            for arch in ("scae", "cpc"):
                frozen, released = (classifier(arch, norm, f) for f in (True, False))
                codes, x = batch(arch, frozen, frozen=True), batch(arch, released)
                costs = interleave(
                    {
                        "heads": train_step(frozen, codes, compute),
                        "heads test": test_step(frozen, codes, compute),
                        "encode": encode_step(classifier(arch, norm, True), compute),
                        "finetune": train_step(released, x, compute),
                        "finetune test": test_step(released, x, compute),
                        "keras frozen": keras.side("train", f"{arch}-frozen", norm, SEGMENTS),
                        "keras finetune": keras.side("train", f"{arch}-finetune", norm, SEGMENTS),
                        "keras test": keras.side("test", f"{arch}-finetune", norm, SEGMENTS),
                    },
                    rounds,
                )
                peer = f"Keras, {norm}"
                for side, other, what, against, target in (
                    ("heads", "keras frozen", f"heads, {arch.upper()} frozen", f"{peer}, recomputed", 40),
                    ("finetune", "keras finetune", f"`full` finetune, {arch.upper()}, {norm}", peer, 5),
                ):  # fmt: skip
                    rows.append(
                        compare(costs, side, other, SEGMENTS, what, against, "segment", target)
                    )
                found = {k: milliseconds(v, SEGMENTS) for k, v in costs.items()}
                found["keras transfer test"] = found.pop("keras test")
                parts |= {f"{arch} {norm} {k}": v for k, v in found.items()}
    return rows, parts
