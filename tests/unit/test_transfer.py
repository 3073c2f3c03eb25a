"""Transfer: what is frozen stays, what is weighed weighs, and nobody looks at the test part."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

import tiny
from recitative.features.shards import MappedFrames
from recitative.features.store import FeatureStore
from recitative.learning.config import TRANSFER_MODES, ControlsConfig, TransferConfig
from recitative.learning.segments import LabelledSegments, task_targets
from recitative.learning.song_head import INVERSE_PENALTY
from recitative.learning.training import Batches, fit
from recitative.learning.transfer import Parts, calibrate, encode, fit_mode, predict_segments
from recitative.models import encoder_of
from recitative.models.classifier import TASKS, EmotionClassifier, class_weights, multitask_losses
from recitative.models.config import ClassifierConfig
from recitative.vocabulary import QUADRANTS

SONGS = [0, 0, 1, 2, 2, 1, 3, 3, 0, 2, 0, 0, 1, 3, 2, 1]
SIZES = ClassifierConfig(trunk=(8,), block=(8,), pooled_trunk=(8,))
FIT = {"epochs": 3, "batch_size": 7, "learning_rate": 0.01}
CONFIG = TransferConfig.model_validate(
    {"repeats": 1, "classifier": SIZES.model_dump(), "frozen": FIT, "finetune": FIT}
)
FROZEN, FULL = TRANSFER_MODES["feature_extraction"], TRANSFER_MODES["full"]


def classifier(seed: int = 0, arch: str = "scae", head: Any = "flatten") -> EmotionClassifier:
    torch.manual_seed(seed)
    return EmotionClassifier(encoder_of(tiny.pretraining_model(arch, seed)), head, SIZES)


@pytest.fixture
def segments(tmp_path: Path) -> LabelledSegments:
    return tiny.music(tmp_path / "music", SONGS)


@pytest.fixture
def parts(segments: LabelledSegments) -> Parts:
    """Eight songs to train, three to validate, five to test; interleaved."""
    of = [segments.clips[i::2] for i in range(2)]
    return Parts(segments.of(of[0]), segments.of(of[1][:3]), segments.of(of[1][3:]))


# The segments and their labels.


def test_segments_know_their_clip_and_label(segments: LabelledSegments) -> None:
    assert len(segments.start) == 5 * len(SONGS)
    assert segments.quadrant.tolist() == [q for q in SONGS for _ in range(5)]
    chosen = segments.of([segments.clips[4], segments.clips[2], "unknown"])
    assert chosen.tolist() == [*range(10, 15), *range(20, 25)]
    frames = segments.store.frames_of(segments.clips[2])
    np.testing.assert_array_equal(segments.x(chosen[1:2])[0, 0].numpy(), frames[2:7].T)


def test_clips_without_label_or_features_are_left_out(tmp_path: Path) -> None:
    store = tiny.store(tmp_path, {"a": 9, "unlabelled": 9, "short": 3, "b": 5})
    songs = [
        tiny.Song("b", "x", "Q3"),
        tiny.Song("lost", "x", "Q1"),
        tiny.Song("unlabelled", "y", None),
        tiny.Song("short", "y", "Q2"),
        tiny.Song("a", "y", "Q4"),
    ]
    loaded = LabelledSegments.load(store, songs, tiny.FRAMES, tiny.HOP)
    assert loaded.clips == ["b", "short", "a"]
    assert loaded.quadrant.tolist() == [2, 3, 3, 3]


def test_arousal_and_valence_follow_russell() -> None:
    targets = task_targets(np.arange(4))
    assert targets["quadrant"].tolist() == [0, 1, 2, 3]
    assert targets["arousal"].tolist() == [1, 1, 0, 0]  # A+ = Q1, Q2
    assert targets["valence"].tolist() == [1, 0, 0, 1]  # V+ = Q1, Q4


def test_predictions_name_clip_segment_and_truth(segments: LabelledSegments) -> None:
    rows = np.array([12, 13, 20, 3, 79])
    table = segments.predictions(rows, np.arange(30).reshape(5, 6) / 100)
    names = ["q1", "q2", "q3", "q4", "arousal", "valence"]
    assert list(table.columns) == ["clip", "group", "segment", *names, "quadrant"]
    assert table["clip"].tolist() == [f"song/{i:02}" for i in (2, 2, 4, 0, 15)]
    assert table["group"].tolist() == [f"artist{i}" for i in (2, 2, 4, 0, 15)]
    assert table["segment"].tolist() == [2, 3, 0, 3, 4]
    assert table["quadrant"].tolist() == [QUADRANTS[SONGS[i]] for i in (2, 2, 4, 0, 15)]
    np.testing.assert_array_equal(table[names].to_numpy(), np.arange(30).reshape(5, 6) / 100)


def test_a_groups_name_is_no_formula_in_the_predictions(segments: LabelledSegments) -> None:
    named = replace(segments, groups=["=1+1", "-M-", *segments.groups[2:]])
    table = named.predictions(np.array([0, 5]), np.zeros((2, 6)))
    assert table["group"].tolist() == ["'=1+1", "'-M-"]
    assert table["clip"].tolist() == ["song/00", "song/01"]


def test_segment_numbers_count_from_the_clips_first_even_where_it_is_not_shown(
    segments: LabelledSegments, parts: Parts
) -> None:
    table = segments.predictions(parts.test, np.zeros((len(parts.test), 6)))
    assert table["segment"].tolist() == list(range(5)) * 5


# Codes.


@pytest.mark.parametrize("head", ["flatten", "pooled"])
@pytest.mark.parametrize("arch", ["scae", "cpc"])
def test_codes_are_the_encoders_in_eval_mode_as_the_heads_read_them(
    arch: str, head: Any, tmp_path: Path
) -> None:
    segments = tiny.music(tmp_path / "music", [0, 1, 2], frames=220)  # more than one batch
    model = classifier(arch=arch, head=head)
    encoder = model.encoder.train()
    encoder(segments.x(np.arange(50)))  # the running statistics differ from the batch's
    before = tiny.state(encoder)
    codes = encode(model, segments, tiny.CPU, tmp_path / "deep" / "codes.npy")
    assert codes.shape == (324, model.heads.inputs)
    assert codes.dtype == np.float32
    assert isinstance(codes, np.memmap)
    assert encoder.training, "the caller's encoder was switched"
    assert not tiny.differing(before, encoder.state_dict())
    with torch.no_grad():
        direct = encoder.eval()(segments.x(np.arange(324)))
        in_training = model.heads.summary(encoder.train()(segments.x(np.arange(324)))).numpy()
    if head == "flatten":
        direct = direct.flatten(1).numpy()
    elif arch == "scae":
        direct = np.concatenate([direct.mean(-1), direct.std(-1, correction=0)], 1)
    else:  # a projection has no time
        direct = direct[:, :, 0].numpy()
    np.testing.assert_allclose(codes, direct, atol=1e-4)
    assert np.abs(codes - in_training).max() > 0.1


def test_heads_on_cached_codes_learn_what_they_learn_behind_an_eval_encoder(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    class BehindEval(EmotionClassifier):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                code = self.encoder.eval()(x)
            logits: dict[str, Tensor] = self.heads(code)
            return logits

    torch.manual_seed(0)
    reference = BehindEval(encoder_of(tiny.pretraining_model("scae")), "flatten", SIZES)
    reference.encoder.requires_grad_(False)

    def batches(part: np.ndarray) -> Batches:
        labels = task_targets(segments.quadrant[part])
        return Batches(
            len(part),
            lambda rows: (
                {"x": segments.x(part[rows])}
                | {task: torch.from_numpy(codes[rows]) for task, codes in labels.items()}
            ),
        )

    config = CONFIG.model_copy(update={"class_weights": False})
    expected = list(
        fit(reference, batches(parts.train), batches(parts.validation), config.frozen, tiny.CPU, 5)
    )
    model = classifier()
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    epochs = list(fit_mode(FROZEN, model, segments, parts, codes, config, tiny.CPU, 5))
    for ours, theirs in zip(epochs, expected, strict=True):
        assert ours.train == pytest.approx(theirs.train, rel=1e-4)
        assert ours.validation == pytest.approx(theirs.validation, rel=1e-4)
    for name, weight in model.heads.state_dict().items():
        torch.testing.assert_close(weight, reference.heads.state_dict()[name], atol=1e-4, rtol=0)


# Frozen and fine-tuned.


def test_a_frozen_encoder_stays_to_the_last_bit(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    model = classifier()
    before = tiny.state(model)
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    list(fit_mode(FROZEN, model, segments, parts, codes, CONFIG, tiny.CPU, 5))
    moved = tiny.differing(before, tiny.state(model))
    assert moved
    assert all(name.startswith("heads.") for name in moved)
    assert {name for name in before if name.startswith("heads.")} == set(moved)
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())


def test_the_frozen_phase_needs_codes(segments: LabelledSegments, parts: Parts) -> None:
    with pytest.raises(ValueError, match="codes"):
        next(fit_mode(FROZEN, classifier(), segments, parts, None, CONFIG, tiny.CPU, 5))


def test_full_releases_everything_after_the_frozen_phase(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(
        update={"finetune": CONFIG.finetune.model_copy(update={"keep": "last"})}
    )
    model = classifier()
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    list(fit_mode(FROZEN, model, segments, parts, codes, config, tiny.CPU, 5))
    between = tiny.state(model)
    list(fit_mode(FULL, model, segments, parts, codes, config, tiny.CPU, 5))
    assert all(parameter.requires_grad for parameter in model.parameters())
    trained = {name for name, _ in model.named_parameters()}
    moved = set(tiny.differing(between, tiny.state(model)))
    assert trained <= moved
    assert any("running_mean" in name for name in moved)  # the music's own batch statistics


def test_full_goes_on_from_feature_extraction() -> None:
    assert TRANSFER_MODES["full"].after == "feature_extraction"
    assert list(TRANSFER_MODES).index("full") > list(TRANSFER_MODES).index("feature_extraction")
    assert {m.encoder for m in TRANSFER_MODES.values() if m.after is None} == {
        "pretrained",
        "random",
    }


# Class weights (C12).


def test_class_weights_are_sklearns_balanced_ones() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 4 + [3])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(torch.from_numpy(labels), 4).numpy(), expected)
    absent = class_weights(torch.tensor([0, 0, 2]), 4)
    assert absent[[1, 3]].tolist() == [0, 0]
    assert absent.isfinite().all()


@pytest.mark.parametrize("task", list(TASKS))
def test_the_weight_of_a_class_acts_on_its_own_head_and_there_only(task: str) -> None:
    torch.manual_seed(0)
    batch = {"x": torch.randn(12, 1, tiny.BANDS, tiny.FRAMES)}
    batch |= {name: torch.arange(12) % k for name, k in TASKS.items()}

    def run(weights: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, Tensor]]:
        model = classifier().eval()  # no dropout; gradients all the same
        model.set_class_weights(weights)
        losses = model.losses(batch)
        losses["loss"].backward()
        blocks = model.heads.blocks.named_parameters()
        grads = {name: p.grad for name, p in blocks if p.grad is not None}
        return {name: float(x.detach()) for name, x in losses.items()}, grads

    weight = torch.ones(TASKS[task])
    weight[1] = 6.0
    plain, plain_grads = run({})
    weighed, weighed_grads = run({task: weight})
    changed = {name for name in plain if plain[name] != weighed[name]}
    assert changed == {"loss", f"{task}_loss"}
    moved = set(tiny.differing(plain_grads, weighed_grads))
    assert moved
    assert {name.split(".")[0] for name in moved} == {task}


def test_the_loss_is_the_sum_of_three_weighted_cross_entropies() -> None:
    torch.manual_seed(0)
    logits = {task: torch.randn(9, k) for task, k in TASKS.items()}
    batch = {task: torch.randint(k, (9,)) for task, k in TASKS.items()}
    weights = {task: torch.rand(k) + 0.1 for task, k in TASKS.items()}
    losses = multitask_losses(logits, batch, weights)
    total = 0.0
    for task in TASKS:
        z, y, w = logits[task].numpy(), batch[task].numpy(), weights[task].numpy()
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        rows = -log_p[np.arange(9), y]
        expected = (w[y] * rows).sum() / w[y].sum()
        assert float(losses[f"{task}_loss"]) == pytest.approx(expected, rel=1e-5)
        total += expected
    assert float(losses["loss"]) == pytest.approx(total, rel=1e-5)
    right = (logits["quadrant"].argmax(1) == batch["quadrant"]).float().mean()
    assert float(losses["quadrant_accuracy"]) == pytest.approx(float(right))


def test_soft_labels_that_are_certain_are_hard_labels() -> None:
    torch.manual_seed(0)
    logits = {task: torch.randn(9, k) for task, k in TASKS.items()}
    hard = {task: torch.randint(k, (9,)) for task, k in TASKS.items()}
    soft = {task: torch.nn.functional.one_hot(hard[task], k).float() for task, k in TASKS.items()}
    ones = {task: torch.ones(k) for task, k in TASKS.items()}
    first, second = (multitask_losses(logits, batch, ones) for batch in (hard, soft))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


@pytest.mark.parametrize("weighed", [True, False])
def test_the_training_parts_shares_decide_the_weights(
    weighed: bool, segments: LabelledSegments, parts: Parts
) -> None:
    model = classifier()
    config = CONFIG.model_copy(update={"class_weights": weighed})
    next(fit_mode(FULL, model, segments, parts, None, config, tiny.CPU, 5))
    targets = task_targets(segments.quadrant[parts.train])
    for task, classes in TASKS.items():
        expected = np.ones(classes)
        if weighed:
            expected = compute_class_weight("balanced", classes=np.arange(classes), y=targets[task])
        np.testing.assert_allclose(model.get_buffer(f"{task}_weights").numpy(), expected, rtol=1e-6)


# Heads that standardise, whole songs, and a second training with the validation part.

STANDARDISED = CONFIG.model_copy(
    update={"head": "pooled", "classifier": SIZES.model_copy(update={"standardize": True})}
)


def pooled(config: TransferConfig = STANDARDISED, seed: int = 0) -> EmotionClassifier:
    torch.manual_seed(seed)
    encoder = encoder_of(tiny.pretraining_model("scae", seed))
    return EmotionClassifier(encoder, config.head, config.classifier)


def test_heads_are_standardised_by_the_codes_of_the_training_part_alone(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    model = pooled()
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    list(fit_mode(FROZEN, model, segments, parts, codes, STANDARDISED, tiny.CPU, 5))
    statistics = model.heads.standardize
    assert statistics is not None
    np.testing.assert_allclose(statistics.mean, codes[parts.train].mean(0), atol=1e-5)
    deviation = codes[parts.train].std(0).clip(1e-3)
    np.testing.assert_allclose(statistics.deviation, deviation, rtol=1e-3)
    seen = statistics(torch.from_numpy(codes[parts.train]))
    torch.testing.assert_close(seen.mean(0), torch.zeros(seen.shape[1]), atol=1e-3, rtol=0)
    kept = tiny.state(statistics)
    list(fit_mode(FULL, model, segments, parts, None, STANDARDISED, tiny.CPU, 5))
    assert not tiny.differing(kept, tiny.state(statistics)), "full goes on with them"


def test_a_network_from_scratch_begins_with_the_statistics_of_its_random_encoder(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    model = pooled()
    calibrate(model.encoder, segments, parts.train, tiny.CPU)
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    scratch = TRANSFER_MODES["scratch"]
    list(fit_mode(scratch, model, segments, parts, None, STANDARDISED, tiny.CPU, 5))
    assert model.heads.standardize is not None
    expected = codes[parts.train].mean(0)
    np.testing.assert_allclose(model.heads.standardize.mean, expected, atol=1e-4)


def test_a_second_training_learns_from_all_but_the_test_part(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    again = parts.refit
    assert parts.validation is not None
    assert again.train.tolist() == sorted([*parts.train, *parts.validation])
    assert again.validation is None
    assert again.test.tolist() == parts.test.tolist()
    model = pooled()
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    epochs = list(fit_mode(FROZEN, model, segments, again, codes, STANDARDISED, tiny.CPU, 5))
    assert [(epoch.validation, epoch.best) for epoch in epochs] == [({}, False)] * 3
    assert model.heads.standardize is not None
    learned = np.sort(np.concatenate([parts.train, parts.validation]))
    np.testing.assert_allclose(model.heads.standardize.mean, codes[learned].mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["codes", "distributions"])
def test_the_song_head_is_logistic_regression_on_songs(
    kind: str, segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    config = STANDARDISED.model_copy(update={"head": "song"})
    model = pooled(config)
    calibrate(model.encoder, segments, parts.train, tiny.CPU)
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    music = segments
    if kind == "distributions":
        music = replace(segments, shares=np.eye(4, dtype=np.float32)[segments.clip_quadrant])
    (epoch,) = fit_mode(FROZEN, model, music, parts, codes, config, tiny.CPU, 5)
    assert epoch.best
    assert math.isfinite(epoch.validation["loss"])
    songs = np.stack([codes[segments.clip == c].mean(0) for c in range(len(SONGS))])
    train = np.unique(segments.clip[parts.train])
    scaled = StandardScaler().fit(songs[train])
    for task, target in task_targets(segments.clip_quadrant).items():
        expected = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000)
        expected.fit(scaled.transform(songs[train]), target[train])
        with torch.no_grad():
            logits = model.heads(torch.from_numpy(np.array(codes)))[task]
        of_song = logits.reshape(len(SONGS), 5, -1).mean(1).softmax(1).numpy()
        wanted = expected.predict_proba(scaled.transform(songs))
        np.testing.assert_allclose(of_song, wanted, atol=1e-3)


def test_a_class_that_no_training_song_has_is_not_answered(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    config = STANDARDISED.model_copy(update={"head": "song"})
    model = pooled(config)
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    happy = replace(segments, clip_quadrant=np.where(segments.clip_quadrant == 2, 0, 0))
    list(fit_mode(FROZEN, model, happy, parts, codes, config, tiny.CPU, 5))
    told = predict_segments(model, happy, parts.test, tiny.CPU, codes)
    np.testing.assert_allclose(told, [[1, 0, 0, 0, 1, 1]] * len(told), atol=1e-6)


# Nobody reads the test part.


@pytest.mark.parametrize("config", [CONFIG, STANDARDISED], ids=["flatten", "standardised"])
@pytest.mark.parametrize("name", ["feature_extraction", "full", "shuffled_labels", "scratch"])
def test_a_poisoned_test_part_changes_nothing(
    name: str, config: TransferConfig, segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    test_clips = np.unique(segments.clip[parts.test])
    frames = np.array(segments.store.frames.array)
    for clip in test_clips:
        first, count = segments.store.spans[segments.clips[clip]]
        frames[first : first + count] = math.nan
    labels = segments.clip_quadrant.copy()
    labels[test_clips] = -99
    store = FeatureStore(segments.store.folder, MappedFrames(frames), segments.store.spans)
    poisoned = replace(segments, store=store, clip_quadrant=labels)
    states = []
    for music in (segments, poisoned):
        model = pooled(config)
        codes = encode(model, music, tiny.CPU, tmp_path / "codes.npy")
        mode = TRANSFER_MODES[name]
        list(fit_mode(mode, model, music, parts.refit, codes, config, tiny.CPU, 5))
        states.append(tiny.state(model))
    assert not tiny.differing(*states)
    assert np.isnan(codes[parts.test]).all()


# The control with shuffled labels.


def test_shuffled_labels_stay_with_whole_clips(segments: LabelledSegments, parts: Parts) -> None:
    shuffled = segments.shuffled([parts.train, parts.validation], np.random.default_rng(0))
    learned = np.unique(segments.clip[np.concatenate([parts.train, parts.validation])])
    test = np.unique(segments.clip[parts.test])
    before, after = segments.clip_quadrant, shuffled.clip_quadrant
    assert sorted(before[learned]) == sorted(after[learned])
    assert (before[learned] != after[learned]).any()
    np.testing.assert_array_equal(before[test], after[test])
    np.testing.assert_array_equal(shuffled.quadrant, after[shuffled.clip])
    assert segments.clip_quadrant.tolist() == SONGS, "the caller's labels were changed"


def test_only_the_control_learns_shuffled_labels(segments: LabelledSegments, parts: Parts) -> None:
    assert [name for name, mode in TRANSFER_MODES.items() if mode.shuffled] == ["shuffled_labels"]


def test_a_repeat_shuffles_by_its_own_seed(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    mode = TRANSFER_MODES["shuffled_labels"]
    losses = []
    for seed in (5, 5, 6):
        model = classifier()
        codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
        epoch = next(fit_mode(mode, model, segments, parts, codes, CONFIG, tiny.CPU, seed))
        losses.append(epoch.train["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_from_scratch_has_epochs_and_a_rate_of_its_own() -> None:
    controls = ControlsConfig(scratch_epochs=50, scratch_learning_rate=0.125)
    given = controls.transfer(CONFIG)
    changed = {"epochs": 50, "learning_rate": 0.125}
    assert given.finetune.model_dump() == CONFIG.finetune.model_dump() | changed
    assert given.frozen == CONFIG.frozen
    assert CONFIG.finetune.epochs == 3


# Predictions.


@pytest.mark.parametrize("cached", [True, False])
def test_probabilities_stand_in_their_columns(
    cached: bool, segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    model = classifier().train()
    biases = {"quadrant": [0.0, 1.0, 2.0, -1.0], "arousal": [0.0, 2.0], "valence": [1.0, -1.0]}
    with torch.no_grad():
        for task, bias in biases.items():
            last: Any = model.heads.blocks[task][-1]  # type: ignore[index]
            last.weight.zero_()
            last.bias.copy_(torch.tensor(bias))
    codes = encode(model, segments, tiny.CPU, tmp_path / "c.npy") if cached else None
    predicted = predict_segments(model, segments, parts.test, tiny.CPU, codes)
    quadrant = np.exp(biases["quadrant"]) / np.exp(biases["quadrant"]).sum()
    expected = [*quadrant, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))]
    np.testing.assert_allclose(predicted, [expected] * len(parts.test), rtol=1e-5)


def test_predictions_come_in_the_order_asked_for_and_the_same_from_codes(
    segments: LabelledSegments, parts: Parts, tmp_path: Path
) -> None:
    model = classifier(arch="cpc", head="pooled")
    codes = encode(model, segments, tiny.CPU, tmp_path / "codes.npy")
    direct = predict_segments(model, segments, parts.test, tiny.CPU)
    from_codes = predict_segments(model, segments, parts.test, tiny.CPU, codes)
    np.testing.assert_allclose(direct, from_codes, atol=1e-5)
    backwards = predict_segments(model, segments, parts.test[::-1].copy(), tiny.CPU)
    np.testing.assert_allclose(backwards, direct[::-1], atol=1e-6)
    np.testing.assert_allclose(direct[:, :4].sum(1), 1, atol=1e-6)
    assert len(np.unique(direct[:, 0])) > 20


def test_a_random_projection_is_calibrated_whatever_number_of_segments_is_left(
    tmp_path: Path,
) -> None:
    segments = tiny.music(tmp_path / "music", [0], frames=5 + 2 * 256)
    assert len(segments.start) == 257  # a batch, and one segment that has no variance
    encoder = encoder_of(tiny.pretraining_model("cpc"))
    calibrate(encoder, segments, np.arange(257), tiny.CPU)
    assert all(buffer.isfinite().all() for buffer in encoder.buffers())
