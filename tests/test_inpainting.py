"""Training to fill holes: what it leaves, what it counts, and that it goes on where it stopped."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn import functional as F

from impasto.checkpoint import load_checkpoint
from impasto.images import save_image
from impasto.loss_networks import Lite
from impasto.losses import FillingLoss, ReconstructionLoss, gram_matrix
from impasto.losses.filling import FLOOR
from impasto.networks import ContextDiscriminator, ContextEncoderPlus, PatchDiscriminator
from impasto.tasks import Adversary, Inpainting
from impasto.training import fit, prepare, train

Configure = Callable[[list[str]], DictConfig]


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides that make a training take seconds: thin networks, small scenes."""
    return [
        "task=inpainting",
        "model.width=2",
        "adversary=patch",
        "task.adversary.discriminator.width=2",
        "task.adversary.start=3",
        "task.adversary.warmup_steps=2",
        "task.warmup_steps=0",
        "loss_network.weights=random",
        "loss.texture_weight=0.1",
        "data.image_size=32",
        "data.batch_size=2",
        "data.num_workers=0",
        "+data.num_val_images=6",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=8",
        "trainer.val_check_interval=4",
        "trainer.log_every_n_steps=1",
        f"run_folder={tmp_path / 'runs'}",
    ]


def test_run_leaves_a_network_that_fills_holes(configure: Configure, tiny: list[str]) -> None:
    folder = train(configure(tiny))
    assert folder.parent.name == "inpainting"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["step"] == 8  # batches, not steps of both optimisers
    network, header = load_checkpoint(folder / "network.safetensors")
    assert (header.task, header.network, header.styles) == ("inpainting", "ContextEncoderPlus", [])
    assert header.losses["val/psnr"] > 0
    photos, masks = torch.rand(1, 3, 30, 41), torch.zeros(1, 1, 30, 41)
    masks[..., 8:20, 8:20] = 1
    filled = network(photos, masks)
    assert torch.equal(filled[..., :8, :], photos[..., :8, :])


def test_tensorboard_shows_both_networks_and_what_was_filled(
    configure: Configure, tiny: list[str]
) -> None:
    events = EventAccumulator(str(train(configure([*tiny, "trainer.max_steps=10"])))).Reload()
    wanted = {f"train/{part}" for part in ("hole", "ring", "perceptual", "texture", "total")}
    wanted |= {"train/discriminator", "train/adversarial", "train/accuracy", "lr-discriminator"}
    wanted |= {"val/psnr", "val/ssim", "val/gain", "lr-network", "images_per_second"}
    assert wanted <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/total")] == list(range(10))
    assert [event.step for event in events.Scalars("train/discriminator")] == list(range(3, 10))
    assert [event.step for event in events.Images("preview")] == [3, 7, 9]


def test_preview_shows_four_rows(configure: Configure, tiny: list[str]) -> None:
    run = prepare(configure(tiny))
    photos, masks = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.7).float()
    run.task.log_dict = lambda *_, **__: None
    masked, smooth, filled, original = run.task.validation_step((photos, masks), 0).values()
    known = masks.expand_as(photos) == 0
    for row in (masked, smooth, filled, original):
        assert torch.equal(row[known], photos[known])
    assert (masked[~known] == 1).all()
    assert torch.equal(original, photos)


def test_held_out_photos_take_all_families_in_turn(configure: Configure, tiny: list[str]) -> None:
    data = prepare(configure(tiny)).data
    masks = torch.stack([data.val[number].mask for number in range(6)])
    again = torch.stack([data.val[number].mask for number in range(6)])
    assert torch.equal(masks, again)
    centre = torch.zeros(32, 32)
    centre[8:24, 8:24] = 1
    assert torch.equal(masks[0, 0].float(), centre)
    assert len({mask.numpy().tobytes() for mask in masks}) == 6


@pytest.mark.parametrize(("stop_at", "adversary"), [(2, "patch"), (5, "patch"), (3, "none")])
def test_run_that_was_stopped_ends_with_identical_weights_of_all(
    configure: Configure, tiny: list[str], stop_at: int, adversary: str
) -> None:
    if adversary == "none":
        tiny = [option for option in tiny if "adversary" not in option]
    whole = prepare(configure(tiny))
    fit(whole)
    first = train(configure([*tiny, "task.schedule=constant", f"trainer.max_steps={stop_at}"]))
    other = train(configure([*tiny, "task.schedule=constant"]))
    rest = prepare(configure([f"resume={first}", "trainer.max_steps=8"]))
    # The command line passes changes on; here the file of settings is what counts.
    rest.trainer.fit_loop.epoch_loop.max_steps = 8
    fit(rest)
    expected = torch.load(other / "resume.ckpt", weights_only=True)
    found = torch.load(first / "resume.ckpt", weights_only=True)
    assert found["global_step"] == expected["global_step"] == 8
    assert same(found["state_dict"], expected["state_dict"])
    assert same(found["optimizer_states"], expected["optimizer_states"])
    assert any(name.startswith("average.") for name in found["state_dict"])
    assert len(found["optimizer_states"]) == (2 if adversary == "patch" else 1)


def same(first: object, second: object) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(first[key], second[key]) for key in first)
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("model", ["context_encoder", "context_encoder_channelwise"])
def test_networks_of_the_paper_train(configure: Configure, tiny: list[str], model: str) -> None:
    tiny = [option for option in tiny if not option.startswith(("model", "adversary", "task.adv"))]
    whole = str(model != "context_encoder").lower()
    options = [f"model={model}", "adversary=context", f"task.adversary.discriminator.whole={whole}"]
    cfg = configure([*tiny, *options, "data.image_size=128", "trainer.max_steps=2"])
    metrics = json.loads((train(cfg) / "metrics.json").read_text())
    assert metrics["step"] == 2
    assert metrics["val/psnr"] > 3


def test_paper_is_stated_as_it_is(configure: Configure) -> None:
    cfg = configure(["experiment=pathak2016"])
    assert cfg.model._target_ == "impasto.networks.ContextEncoder"
    assert (cfg.task.learning_rate, cfg.task.adversary.learning_rate) == (2e-3, 2e-4)
    assert (list(cfg.task.betas), cfg.task.schedule, cfg.task.ema_decay) == (
        [0.5, 0.999],
        "constant",
        0,
    )
    assert (cfg.data.batch_size, cfg.data.image_size, cfg.data.masks.overlap) == (64, 128, 4)
    assert cfg.task.adversary.game == "bce"
    assert cfg.task.adversary.weight == pytest.approx(0.001 / 0.999, rel=1e-6)
    assert cfg.loss.reconstruction.ring_weight == 10


def test_style_is_no_part_of_inpainting(configure: Configure) -> None:
    with pytest.raises(Exception, match="Could not override 'style'"):
        configure(["task=inpainting", "style=starry_night"])


def test_training_learns_what_a_smooth_fill_cannot_know(
    configure: Configure, tiny: list[str], tmp_path: Path
) -> None:
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::8], stripes[..., 1::8], stripes[..., 2::8] = 0.8, 0.8, 0.8
    save_image(stripes, tmp_path / "photos" / "stripes.png")
    skip = ("adversary", "task.adversary", "+data.num_val_images")
    options = [option for option in tiny if not option.startswith(skip)]
    options += ["data=folder", f"data.path={tmp_path / 'photos'}", "data.min_scale=1"]
    options += ["+data.masks.weights={centre:1}", "model.width=8", "task.learning_rate=3e-3"]
    options += ["loss.perceptual_weight=0", "loss.texture_weight=0"]  # of a random network
    options += ["trainer.max_steps=100", "trainer.val_check_interval=100", "task.warmup_steps=40"]
    assert json.loads((train(configure(options)) / "metrics.json").read_text())["val/gain"] > 5


def test_run_may_start_from_another(configure: Configure, tiny: list[str]) -> None:
    first = train(configure(tiny)) / "network.safetensors"
    run = prepare(configure([*tiny, f"init={first}"]))
    expected, _ = load_checkpoint(first)
    for name, weight in expected.state_dict().items():
        assert torch.equal(run.task.network.state_dict()[name], weight)
        assert torch.equal(run.task.released.state_dict()[name], weight)
    with pytest.raises(Exception, match="holds another network than model= asks for"):
        prepare(configure([*tiny, f"init={first}", "model.width=3"]))


def test_average_follows_the_network(configure: Configure, tiny: list[str]) -> None:
    run = prepare(configure([*tiny, "trainer.max_steps=30"]))
    fit(run)
    task = run.task
    assert isinstance(task, Inpainting)
    assert task.average is not None
    assert task.released is task.average
    first, kept = task.network.to_correction.weight, task.average.to_correction.weight
    assert not torch.equal(first, kept)
    assert (first - kept).norm() < first.norm()


def test_network_of_an_adversary_is_the_latest(configure: Configure, tiny: list[str]) -> None:
    # A weight that ruins every other loss: the best of those would be the first.
    options = [option for option in tiny if not option.startswith("trainer.max_steps")]
    options += ["task.adversary.weight=5", "task.learning_rate=3e-2", "task.ema_decay=0"]
    folder = train(configure([*options, "trainer.max_steps=12"]))
    assert load_checkpoint(folder / "network.safetensors")[1].step == 12


@pytest.mark.parametrize(("start", "late"), [(2, False), (6, True)])
def test_adversary_that_comes_too_late_is_told(
    configure: Configure,
    tiny: list[str],
    start: int,
    late: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    train(configure([*tiny, f"task.adversary.start={start}"]))
    assert ("lower task.adversary.start" in caplog.text) == late


def test_patches_of_what_is_known_are_the_photo() -> None:
    photos, filled, masks = (
        torch.rand(1, 3, 32, 32),
        torch.rand(1, 3, 32, 32),
        torch.zeros(1, 1, 32, 32),
    )
    masks[..., 8:16, 8:16] = 1
    shown = Adversary(PatchDiscriminator(2)).shown(photos, filled, masks)
    assert torch.equal(shown[..., 8:16, 8:16], filled[..., 8:16, 8:16])
    assert torch.equal(shown.where(masks == 0, 0), photos.where(masks == 0, 0))
    assert Adversary(ContextDiscriminator()).shown(photos, filled, masks) is filled


def test_flat_photos_leave_the_mean_finite(
    configure: Configure, tiny: list[str], tmp_path: Path
) -> None:
    for number in range(3):
        save_image(torch.zeros(1, 3, 40, 40), tmp_path / "photos" / f"{number}.png")
    skip = ("adversary", "task.adversary", "+data.num_val_images")
    options = [option for option in tiny if not option.startswith(skip)]
    options += ["data=folder", f"data.path={tmp_path / 'photos'}"]
    metrics = json.loads((train(configure(options)) / "metrics.json").read_text())
    assert math.isfinite(metrics["val/gain"])


PAPERS = ["model=context_encoder", "data.image_size=128"]
WHOLE = "task.adversary.discriminator.whole=true"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["model=context_encoder"],
            "ContextEncoder takes photos of 128 px only: data.image_size=128",
        ),
        (["task.learning_rate=-1"], "learning_rate must be above 0, got -1"),
        (["task.gradient_clip=0"], "gradient_clip must be above 0, or null for none, got 0"),
        (["task.betas=[0.9]"], "betas must be two numbers"),
        (["task.betas=[0.9,1.5]"], "betas must be two numbers"),
        (["trainer.gradient_clip_val=1.0"], "give task.gradient_clip"),
        (["adversary=context"], "adversary=context takes photos of 128 px only, got 64"),
        (["model=johnson"], "TransformerNet is no network for Inpainting"),
        (["+data.masks.weights={centre:a}"], "Weights of masks must be at least 0"),
        ([*PAPERS, "data.batch_size=1"], "data.batch_size=2 at least"),
        ([*PAPERS, "+data.masks.weights.block=1"], "got block, centre"),
        ([*PAPERS, "adversary=context", WHOLE], "whole must be false for ContextEncoder"),
        (["data.image_size=128", "adversary=context"], "whole must be true for ContextEncoderPlus"),
    ],
)
def test_settings_that_cannot_be_are_told_before_the_run(
    configure: Configure, options: list[str], message: str
) -> None:
    small = ["task=inpainting", "data.image_size=64", "loss_network.weights=random"]
    with pytest.raises(Exception, match=message):
        prepare(configure([*small, *options]))


def test_loss_takes_for_visible_what_masks_leave(configure: Configure) -> None:
    cfg = configure(["task=inpainting", *PAPERS, "data.masks.overlap=7"])
    assert cfg.loss.reconstruction.overlap == 7


def test_adversary_keeps_to_its_times() -> None:
    adversary = Adversary(PatchDiscriminator(2), weight=0.5, start=10, warmup_steps=4)
    assert [adversary.weight_at(step) for step in (0, 10, 11, 12, 14, 99)] == [
        0,
        0,
        0.125,
        0.25,
        0.5,
        0.5,
    ]
    at_once = Adversary(PatchDiscriminator(2), weight=0.5)
    assert [at_once.weight_at(step) for step in (0, 1)] == [0, 0.5]


def test_deceiving_leaves_the_discriminator_without_gradients() -> None:
    adversary = Adversary(PatchDiscriminator(2))
    filled = torch.rand(2, 3, 32, 32, requires_grad=True)
    adversary.deceive(filled, torch.ones(2, 1, 32, 32)).backward()
    assert filled.grad is not None
    assert filled.grad.abs().max() > 0
    assert all(weight.grad is None for weight in adversary.parameters())
    assert all(w.requires_grad for w in adversary.discriminator.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "chess"}, "hinge or bce, got 'chess'"),
        ({"weight": -1.0}, "at least 0, learning_rate above 0; got -1.0"),
        ({"learning_rate": 0.0}, "got 0.01, 0, 0 and 0.0"),
    ],
)
def test_wrong_adversaries_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversary(PatchDiscriminator(2), **arguments)


def test_wrong_average_is_refused() -> None:
    loss = FillingLoss(ReconstructionLoss(), torch.nn.Identity(), {"a": 1})
    with pytest.raises(ValueError, match="ema_decay must be from 0 to below 1, got 1"):
        Inpainting(ContextEncoderPlus(1), loss, ema_decay=1.0)


def filling_loss(**weights: float) -> FillingLoss:
    network = Lite(["relu2_1"], weights="random")
    return FillingLoss(ReconstructionLoss(), network, {"relu2_1": 1}, **weights)


def test_looks_count_by_the_logarithm_of_every_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    images, filled = torch.rand(2, 2, 3, 32, 32, generator=generator)
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 8:24, 8:24] = masks[1, :, 14:18, 14:18] = 1
    loss = filling_loss(perceptual_weight=2, texture_weight=0.5)
    parts = loss(filled, images, masks)
    composed = torch.where(masks > 0.5, filled, images)
    share = F.interpolate(masks, (16, 16), mode="area").sqrt()
    wanted, found = (
        share * loss.network(each, ["relu2_1"])["relu2_1"] for each in (images, composed)
    )
    expected = {}
    for name, of in {"perceptual": torch.nn.Identity(), "texture": gram_matrix}.items():
        error, energy = (of(found) - of(wanted)).flatten(1).norm(dim=1), of(wanted).flatten(1)
        relative = (error / energy.norm(dim=1)).square()
        expected[name] = (1 + relative / 0.001).log().mean()
        torch.testing.assert_close(parts[name], expected[name])
    plain = ReconstructionLoss()(filled, images, masks)["total"]
    total = plain + 2 * expected["perceptual"] + 0.5 * expected["texture"]
    torch.testing.assert_close(parts["total"], total)


def test_washed_out_border_costs() -> None:
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., 8:24, 8:24] = 1
    images = 0.5 * masks.expand(1, 3, 32, 32)
    loss = filling_loss(seam_weight=3)
    assert loss(images, images, masks)["seam"] == 0
    parts, plain = loss(images / 2, images, masks), filling_loss()(images / 2, images, masks)
    expected = math.log((0.25 + 1 / 255) / (0.5 + 1 / 255)) ** 2
    assert parts["seam"].item() == pytest.approx(expected)
    torch.testing.assert_close(parts["total"], plain["total"] + 3 * expected)


def test_hole_without_a_border_has_no_seam() -> None:
    images, filled = torch.rand(2, 2, 3, 32, 32)
    filled.requires_grad_(True)
    masks = torch.ones(2, 1, 32, 32)
    masks[1, :, :16] = 0
    parts = filling_loss(seam_weight=1)(filled, images, masks)
    parts["total"].backward()
    assert parts["seam"].isfinite()
    assert parts["seam"] > 0
    assert filled.grad is not None
    assert filled.grad.isfinite().all()


def test_holes_are_seen_in_random_views_while_training() -> None:
    generator = torch.Generator().manual_seed(0)
    filled, images = torch.rand(2, 1, 3, 64, 64, generator=generator)
    masks = torch.ones(1, 1, 64, 64)
    network = Lite(["relu2_1"], weights="random")
    plain, viewed = (
        FillingLoss(ReconstructionLoss(), network, {"relu2_1": 1}, 1, 1, random_views=random_views)
        for random_views in (False, True)
    )
    expected = plain.train()(filled, images, masks)
    seen = [viewed.train()(filled, images, masks) for _ in range(2)]
    for part in ("perceptual", "texture"):
        assert seen[0][part] != seen[1][part]
    assert torch.equal(seen[0]["hole"], expected["hole"])
    assert torch.equal(viewed.eval()(filled, images, masks)["total"], expected["total"])


def test_positions_count_by_their_share_of_the_hole() -> None:

    class Nothing(torch.nn.Module):
        def forward(self, filled, images, masks):
            return {"total": torch.zeros(())}

    def network(images, layers):
        return {"a": F.avg_pool2d(images, 2)}

    images, masks = torch.ones(1, 3, 2, 4), torch.zeros(1, 1, 2, 4)
    masks[..., 0, 0] = masks[..., 2:] = 1  # a quarter of one position, all of the other
    loss = FillingLoss(Nothing(), network, {"a": 1}, perceptual_weight=1)
    filled = images - 0.5
    # Of the first, known pixels are put back: 1 - 0.5 / 4.
    expected = (0.25 * 0.125**2 + 1 * 0.5**2) / (0.25 + 1)
    found = loss(filled, images, masks)["perceptual"]
    assert found.item() == pytest.approx(np.log1p(expected / FLOOR), rel=1e-5)


def test_layers_count_by_their_weights() -> None:
    def network(images, layers):
        return {"near": images, "far": images - 0.5}

    images, masks = torch.ones(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    loss = FillingLoss(ReconstructionLoss(), network, {"near": 3, "far": 1}, perceptual_weight=1)
    found = loss(images - 0.2, images, masks)["perceptual"]
    expected = 0.75 * 0.2**2 + 0.25 * (0.2 / 0.5) ** 2
    assert found.item() == pytest.approx(np.log1p(expected / FLOOR), rel=1e-5)
