"""Every architecture keeps the same promises, and the documentation counts what the code has."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny
from recitative.errors import UserError
from recitative.models import ARCHITECTURES, build_model, encoder_of
from recitative.models.classifier import TASKS, EmotionClassifier, TimePooling
from recitative.models.config import (
    ClassifierConfig,
    CPCConfig,
    EmotionConfig,
    EncoderConfig,
    SCAEConfig,
)
from recitative.models.cpc import CPC
from recitative.models.dropout import Dropout
from recitative.models.emotion import Emotion
from recitative.models.encoder import ConvEncoder, Standardize, TimeBatchNorm
from recitative.models.scae import SCAE
from recitative.models.storage import (
    build_classifier,
    build_encoder,
    build_pretrained,
    describe,
    load_weights,
    save_weights,
)

ARCHS = sorted(ARCHITECTURES)
ENCODERS = [
    tiny.ENCODER.model_copy(update={"batch_norm": norm, "standardize": standardize})
    for norm in ("channel", "time")
    for standardize in ("band", "none")
]
CLASSIFIER = ClassifierConfig(trunk=(32, 32), pooled_trunk=(32,), block=(32,), pooled_block=())


def ids(config: EncoderConfig) -> str:
    return f"{config.batch_norm}-{config.standardize}"


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_architecture_has_a_tiny_config_here() -> None:
    assert set(tiny.CONFIGS) == set(ARCHITECTURES), "add the new architecture to tests/tiny.py"


# The paper's shapes.


def test_scae_has_the_papers_shapes() -> None:
    model = SCAE(EncoderConfig(), SCAEConfig(), 128, 31).eval()
    x = torch.randn(1, 1, 128, 31)
    with torch.no_grad():
        assert model.encoder.latent(x).shape == (1, 128, 2, 31)
        assert model.encoder.latent_shape == (128, 2, 31)
        assert model(x).shape == x.shape
        code = model.encoder(x)
    assert code.shape == (1, *model.encoder.code_shape) == (1, 256, 31)
    assert code.numel() == 7936  # C5
    assert code.numel() > x.numel()  # over-complete


@pytest.mark.parametrize(("code", "shape"), [("projection", (256, 1)), ("conv", (256, 31))])
def test_cpc_transfers_its_projection_or_scaes_capacity(code: Any, shape: tuple[int, int]) -> None:
    model = CPC(EncoderConfig(), CPCConfig(code=code), 128, 31).eval()
    x = torch.randn(2, 6, 128, 31)
    with torch.no_grad():
        assert model.encode(x).shape == (2, 6, 256)
        assert model.encoder(x[:, :1]).shape == (2, *shape)
    assert model.encoder.code_shape == shape


def test_the_order_of_a_double_layer_is_convolution_relu_norm() -> None:
    kinds = [type(layer) for layer in SCAE(EncoderConfig(), SCAEConfig(), 128, 31).encoder.conv]
    double = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d] * 2 + [nn.MaxPool2d, Dropout]
    assert kinds == double * 3


def test_the_code_keeps_time_and_the_order_of_features() -> None:
    encoder = encoder_of(tiny.pretraining_model("scae")).eval()
    x = torch.randn(2, 1, tiny.BANDS, tiny.FRAMES)
    with torch.no_grad():
        latent, code = encoder.latent(x), encoder(x)
    assert torch.equal(code, latent.reshape(2, -1, tiny.FRAMES))


# What every architecture promises.


@pytest.mark.parametrize("encoder", ENCODERS, ids=ids)
@pytest.mark.parametrize("arch", ARCHS)
def test_the_loss_is_finite_and_gradients_reach_every_parameter(
    arch: str, encoder: EncoderConfig
) -> None:
    model: Any = tiny.pretraining_model(arch, encoder=encoder).train()
    losses = model.losses(tiny.example_batch(arch, 8))
    assert all(loss.isfinite() and loss.ndim == 0 for loss in losses.values())
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} takes no part in the loss"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, f"{name} has no gradient"


@pytest.mark.parametrize("arch", ARCHS)
def test_the_loss_in_eval_mode_is_the_same_each_time(arch: str) -> None:
    model: Any = tiny.pretraining_model(arch).eval()
    batch = tiny.example_batch(arch, 8)
    before = tiny.state(model)
    first, second = (float(model.losses(batch)["loss"].detach()) for _ in range(2))
    assert first == second
    assert not tiny.differing(before, model.state_dict())


@pytest.mark.parametrize("encoder", ENCODERS[::2], ids=ids)
@pytest.mark.parametrize("arch", ARCHS)
def test_one_batch_is_overfitted(arch: str, encoder: EncoderConfig) -> None:
    encoder = encoder.model_copy(update={"filters": (8, 8, 16), "dropout": 0.0})
    config = tiny.CONFIGS[arch].model_copy(
        update={"scae": {"noise": 0.0}, "cpc": {"projection": 32, "context": 32}}.get(arch, {})
    )
    torch.manual_seed(0)
    model: Any = build_model(arch, encoder, config, tiny.BANDS, tiny.FRAMES).train()
    batch = tiny.example_batch(arch, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = last = float("nan")
    for step in range(50):
        loss = model.losses(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert last < first / 4


@pytest.mark.parametrize("encoder", ENCODERS, ids=ids)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_description_and_a_file_rebuild_the_model_bit_for_bit(
    arch: str, encoder: EncoderConfig, tmp_path: Path
) -> None:
    model: Any = tiny.pretraining_model(arch, encoder=encoder).train()
    encoder_of(model).standardize.set(
        torch.linspace(-9, 0, tiny.BANDS), torch.linspace(1, 3, tiny.BANDS)
    )
    model.losses(tiny.example_batch(arch, 8))  # moves the batch norms' buffers
    description = describe(arch, encoder, tiny.CONFIGS[arch], tiny.BANDS, tiny.FRAMES)
    save_weights(tmp_path / "model.safetensors", model)

    torch.manual_seed(99)
    rebuilt: Any = build_pretrained(json.loads(json.dumps(description)))
    assert tiny.differing(tiny.state(model), tiny.state(rebuilt)), "nothing was drawn anew"
    load_weights(tmp_path / "model.safetensors", rebuilt)
    assert type(rebuilt) is type(model)
    assert not tiny.differing(tiny.state(model), tiny.state(rebuilt))
    batch = tiny.example_batch(arch, 6, seed=5)
    assert model.eval().losses(batch) == rebuilt.eval().losses(batch)
    x = batch["x"][:, :1]
    assert torch.equal(encoder_of(model)(x), encoder_of(rebuilt)(x))


@pytest.mark.parametrize("head", ["flatten", "pooled", "song"])
@pytest.mark.parametrize("arch", ARCHS)
def test_a_classifier_is_rebuilt_from_its_description(arch: str, head: Any, tmp_path: Path) -> None:
    description = describe(arch, tiny.ENCODER, tiny.CONFIGS[arch], tiny.BANDS, tiny.FRAMES) | {
        "head": head,
        "classifier": CLASSIFIER.model_dump(mode="json"),
    }
    torch.manual_seed(1)
    model = build_classifier(description, build_encoder(description)).eval()
    # Class weights belong to a training set, not to the model.
    model.set_class_weights({task: torch.rand(k) for task, k in TASKS.items()})
    save_weights(tmp_path / "full.safetensors", model)
    torch.manual_seed(2)
    described = json.loads(json.dumps(description))
    rebuilt = build_classifier(described, build_encoder(described)).eval()
    load_weights(tmp_path / "full.safetensors", rebuilt)
    x = torch.randn(3, 1, tiny.BANDS, tiny.FRAMES)
    for task, logits in model(x).items():
        assert logits.shape == (3, TASKS[task])
        assert torch.equal(logits, rebuilt(x)[task])


@pytest.mark.parametrize("head", ["flatten", "pooled", "song"])
@pytest.mark.parametrize("arch", ARCHS)
def test_a_classifiers_loss_reaches_every_parameter(arch: str, head: Any) -> None:
    torch.manual_seed(0)
    encoder = encoder_of(tiny.pretraining_model(arch))
    model = EmotionClassifier(encoder, head, CLASSIFIER.model_copy(update={"dropout": 0.0})).train()
    labels = {task: torch.arange(12) % k for task, k in TASKS.items()}
    losses = model.losses({"x": torch.randn(12, 1, tiny.BANDS, tiny.FRAMES), **labels})
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    parts = sum(losses[f"{task}_loss"] for task in TASKS)
    torch.testing.assert_close(losses["loss"], parts)


# Parts.


def test_time_batch_norm_is_keras_axis_minus_one() -> None:
    norm = TimeBatchNorm(7).train()
    with torch.no_grad():
        norm.norm.weight.copy_(torch.rand(7) + 0.5)
        norm.norm.bias.copy_(torch.randn(7))
    x = torch.randn(6, 3, 5, 7) * torch.arange(1, 8) + torch.arange(7)
    # Keras normalises each index of the last axis over all others.
    array = x.double().numpy()
    mean, variance = array.mean((0, 1, 2)), array.var((0, 1, 2))
    gamma, beta = norm.norm.weight.detach().numpy(), norm.norm.bias.detach().numpy()
    expected = (array - mean) / np.sqrt(variance + norm.norm.eps) * gamma + beta
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(norm.norm.running_mean.numpy(), 0.1 * mean, rtol=1e-4)
    per_channel = nn.BatchNorm2d(3).train()(x).detach().numpy()
    assert np.abs(per_channel - expected).max() > 0.1


@pytest.mark.parametrize("norm", ["channel", "time"])
def test_the_switch_changes_what_is_normalised(norm: Any) -> None:
    encoder = ConvEncoder(tiny.ENCODER.model_copy(update={"batch_norm": norm}), 16, 5)
    features = [m.num_features for m in encoder.conv.modules() if isinstance(m, nn.BatchNorm2d)]
    assert features == ([4, 4, 4, 4, 8, 8] if norm == "channel" else [5] * 6)


def test_standardise_acts_on_each_band_and_survives_a_silent_one() -> None:
    standardize = Standardize(4)
    x = torch.randn(2, 1, 4, 5)
    assert torch.equal(standardize(x), x)
    mean, deviation = torch.tensor([1.0, -2, 0, 3]), torch.tensor([1.0, 2, 4, 0])
    standardize.set(mean, deviation)
    y = standardize(x)
    torch.testing.assert_close(y[:, :, 1], (x[:, :, 1] + 2) / 2)
    torch.testing.assert_close(y[:, :, 2], x[:, :, 2] / 4)
    assert y.isfinite().all()
    assert set(standardize.state_dict()) == {"mean", "deviation"}


def test_pooling_over_time_is_mean_and_deviation() -> None:
    code = torch.randn(3, 4, 9)
    pooled = TimePooling()(code).numpy()
    expected = np.concatenate([code.numpy().mean(-1), code.numpy().std(-1)], 1)
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    assert TimePooling()(code[:, :, :1]).shape == (3, 4)


def test_noise_is_added_in_training_only_and_the_target_is_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = tiny.pretraining_model("scae")
    seen: list[Tensor] = []

    def identity(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    monkeypatch.setattr(model, "forward", identity)
    x = torch.randn(64, 1, tiny.BANDS, tiny.FRAMES)
    noisy = float(model.train().losses({"x": x})["loss"])
    assert noisy == pytest.approx(0.3**2, rel=0.1)  # the identity keeps all of the noise
    assert float(model.eval().losses({"x": x})["loss"]) == 0
    assert not torch.equal(seen[0], x)
    assert torch.equal(seen[1], x)


# What cannot be built or loaded says so.


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"pretrain\.arch.*'vae'.*scae, cpc"):
        build_model("vae", tiny.ENCODER, None, 128, 31)
    with pytest.raises(UserError, match=r"'vae'.*scae, cpc"):
        build_pretrained({"arch": "vae", "encoder": {}, "config": {}, "n_mels": 8, "frames": 4})


def test_bands_that_cannot_be_pooled_are_refused() -> None:
    with pytest.raises(UserError, match=r"features\.n_mels: 96 .*multiple of 64"):
        SCAE(EncoderConfig(), SCAEConfig(), 96, 31)


def test_each_double_layer_needs_its_pooling() -> None:
    with pytest.raises(ValueError, match="equally many"):
        EncoderConfig(filters=(4, 4))


@pytest.mark.parametrize("content", [None, b"", b"no safetensors at all"])
def test_a_missing_or_broken_file_of_weights_is_one_line(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        load_weights(path, tiny.pretraining_model("scae"))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, tiny.pretraining_model("cpc"))
    with pytest.raises(UserError, match="do not fit the model"):
        load_weights(path, tiny.pretraining_model("scae"))


# docs/models.md.


def documented(page: str, heading: str) -> list[tuple[str, str, int]]:
    """The rows under a heading: name, output, parameters."""
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.*?) \| ([\d,]+) \|$", section, re.MULTILINE)
    return [(name, output, int(count.replace(",", ""))) for name, output, count in rows]


def times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


@pytest.fixture(scope="module")
def models_page(project_root: Path) -> str:
    return (project_root / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_documented_layers_are_those_of_the_encoder(models_page: str) -> None:
    encoder = SCAE(EncoderConfig(), SCAEConfig(), 128, 31).encoder.eval()
    x = torch.zeros(1, 1, 128, 31)
    rows = [("input", times((1, 128, 31)), 0)]
    steps = {
        nn.Conv2d: (3, "convolution 3×3, ReLU, batch norm"),
        nn.MaxPool2d: (2, "max-pooling {}, dropout 0.25"),
    }
    layers = list(encoder.conv)
    with torch.no_grad():
        while layers:
            taken, name = steps[type(layers[0])]  # type: ignore[index]
            block, layers = nn.Sequential(*layers[:taken]), layers[taken:]
            x = block(x)
            pool = block[0].kernel_size[0] if isinstance(block[0], nn.MaxPool2d) else 0
            rows.append((name.format(pool), times(tuple(x.shape[1:])), parameters(block)))
    rows.append(("max-pooling 2: the latent", times(encoder.latent_shape), 0))
    rows.append(("all", "", parameters(encoder)))
    assert documented(models_page, "The shared encoder") == rows


def test_the_documented_models_are_those_of_the_code(models_page: str) -> None:
    scae = SCAE(EncoderConfig(), SCAEConfig(), 128, 31)
    cpc = CPC(EncoderConfig(), CPCConfig(), 128, 31)
    released = SCAE(EncoderConfig(batch_norm="time"), SCAEConfig(), 128, 31)
    assert documented(models_page, "SCAE") == [
        ("encoder", "128×2×31", parameters(scae.encoder)),
        ("decoder", "1×128×31", parameters(scae.decoder)),
        ("SCAE", "1×128×31", parameters(scae)),
        ("SCAE, `batch_norm: time`", "1×128×31", parameters(released)),
    ]
    emotion = Emotion(EncoderConfig(), EmotionConfig(), 128, 31)
    assert documented(models_page, "Emotion") == [
        ("encoder", "128×2×31", parameters(emotion.encoder)),
        ("FC 128 and three softmax layers", "8", parameters(emotion.heads)),
        ("Emotion", "8", parameters(emotion)),
    ]
    assert documented(models_page, "CPC") == [
        ("convolutions of the encoder", "128×4×31", parameters(cpc.encoder.conv)),
        ("projection: FC 256, batch norm, FC 256", "256", parameters(cpc.encoder.project)),
        ("GRU", "256", parameters(cpc.gru)),
        ("two predictors", "2×256", parameters(cpc.predictors)),
        ("CPC", "1", parameters(cpc)),
    ]


def test_the_documented_heads_are_those_of_the_code(models_page: str) -> None:
    rows = []
    for name, encoder in (
        ("SCAE", SCAE(EncoderConfig(), SCAEConfig(), 128, 31).encoder),
        ("CPC", CPC(EncoderConfig(), CPCConfig(), 128, 31).encoder),
    ):
        heads: tuple[Any, ...] = ("flatten", "pooled", "song")
        for head in heads:
            model = EmotionClassifier(encoder, head, ClassifierConfig())
            rows.append((f"{name}, `{head}`", times(encoder.code_shape), parameters(model.heads)))
    assert documented(models_page, "The heads") == rows
