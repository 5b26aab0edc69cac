"""The temporal loss: what moves along costs nothing, what does not costs what it should."""

import json
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from impasto.losses import TemporalLoss, temporal
from impasto.losses.temporal import Moved, luminance, still_positions, warp
from impasto.networks import TransformerNet
from impasto.training import train

Configure = Callable[[list[str]], DictConfig]


def photos(count: int = 2, height: int = 48, width: int = 64) -> Tensor:
    """Smooth colours between 0.2 and 0.8."""
    coarse = torch.rand(count, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(
        coarse, (height, width), mode="bilinear", align_corners=True
    )
    return 0.2 + 0.6 * smooth


def still(pictures: Tensor, visible: Tensor | None = None, light: Tensor | None = None) -> Moved:
    """Pictures of which nothing moves."""
    one = torch.ones_like(pictures[:, :1])
    visible, light = one if visible is None else visible, 0 * one if light is None else light
    return Moved(pictures, still_positions(pictures), visible, light)


def variance(pictures: Tensor) -> float:
    return pictures.var((2, 3), correction=0).mean().item() + 1e-4


def test_still_photo_painted_as_before_costs_nothing() -> None:
    loss = TemporalLoss(motion=0, occlusion=0, light=0, noise=0)
    moved = loss.move(photos())
    assert torch.allclose(moved.photos, photos(), atol=1e-6)
    assert moved.visible.mean() == 1
    assert loss(photos(), moved.photos, moved) < 1e-9


def test_shift_is_known_to_the_pixel() -> None:
    picture = photos()
    positions = still_positions(picture) + torch.tensor([2 * 3 / 64, -2 * 5 / 48])
    shifted = warp(picture, positions)
    assert torch.allclose(shifted[..., 5:, :-3], picture[..., :-5, 3:], atol=1e-5)


def test_painter_that_moves_along_costs_nothing_and_a_fixed_pattern_its_energy() -> None:
    torch.manual_seed(0)
    loss = TemporalLoss(occlusion=0, light=0, noise=0)
    moved = loss.move(photos(8))
    assert (moved.photos - photos(8)).abs().mean() > 0.01
    assert loss(1 - photos(8), 1 - moved.photos, moved) < 1e-3
    # Independent signs of 0.1: later there is another one, 2 * 0.1^2 from the one that moved here.
    pattern = 0.1 * torch.randn(8, 3, 48, 64).sign()
    whole = Moved(moved.photos, still_positions(photos(8)).roll(7, 2), moved.visible, moved.light)
    painted = photos(8) + pattern
    later = warp(photos(8), whole.positions) + pattern
    expected = 2 * 0.1**2 / variance(painted)
    assert loss(painted, later, whole).item() == pytest.approx(expected, rel=0.05)


def test_difference_by_hand() -> None:
    # A tenth in one of three colours, everywhere: 0.01 / 3 over the painting's variance.
    later = photos() + torch.tensor([0.1, 0, 0]).view(3, 1, 1)
    found = TemporalLoss()(photos(), later, still(photos()))
    assert found.item() == pytest.approx(0.01 / 3 / variance(photos()), rel=1e-3)


def test_faded_painting_costs_as_much() -> None:
    later = photos().roll(2, 3)
    full, faded = (
        TemporalLoss()(share * photos(), share * later, still(photos())) for share in (1, 0.5)
    )
    assert faded.item() == pytest.approx(full.item(), rel=0.05)  # flatness counts a little


def test_what_is_covered_does_not_count() -> None:
    visible = torch.ones(2, 1, 48, 64)
    visible[..., 20:] = 0
    later = photos().where(visible > 0, 1)
    assert TemporalLoss()(photos(), later, still(photos(), visible)) < 1e-9
    later = torch.where(visible > 0, later + 0.1, 0)  # a mean over visible pixels only
    found = TemporalLoss()(photos(), later, still(photos(), visible))
    assert found.item() == pytest.approx(0.01 / variance(photos()), rel=1e-3)
    assert TemporalLoss()(photos(), later, still(photos(), 0 * visible)) == 0


def test_occluders_are_where_pixels_are_said_to_be_covered() -> None:
    torch.manual_seed(0)
    loss = TemporalLoss(motion=0, light=0, noise=0)
    moved = loss.move(photos(8))
    changed = (moved.photos - photos(8)).abs().amax(1, keepdim=True) > 1e-5
    assert 0.02 < (1 - moved.visible).mean() < 0.3
    assert not changed[moved.visible > 0].any()
    assert changed[moved.visible == 0].float().mean() > 0.9


def test_frame_border_is_where_pixels_come_from_beyond_it() -> None:
    torch.manual_seed(0)
    moved = TemporalLoss(occlusion=0).move(photos(8))
    outside = moved.positions.abs().amax(3) >= 1
    assert 0 < outside.float().mean() < 0.2
    assert torch.equal(moved.visible[:, 0], (~outside).float())


def test_light_painted_faithfully_or_not_at_all_costs_nothing() -> None:
    torch.manual_seed(0)
    loss = TemporalLoss(motion=0, occlusion=0, noise=0)
    moved = loss.move(photos(8))
    change = moved.photos - photos(8)
    assert change.abs().max() > 0.02
    assert torch.allclose(change, moved.light.expand_as(change), atol=1e-5)  # alike in all colours
    assert loss(photos(8), moved.photos, moved) < 1e-9
    assert loss(photos(8), photos(8), moved) < 1e-9
    assert loss(photos(8), photos(8) + 0.5 * change, moved) < 1e-9
    # Twice the change, or the opposite one: once the change is too much.
    too_much = change.square().mean().item() / variance(photos(8))
    for later in (photos(8) + 2 * change, photos(8) - change):
        assert loss(photos(8), later, moved).item() == pytest.approx(too_much, rel=1e-3)


def test_luminance_of_white_is_one() -> None:
    assert luminance(torch.ones(1, 3, 2, 2)) == pytest.approx(torch.ones(1, 1, 2, 2))


def test_photos_stay_photos_and_draws_follow_the_seed() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(TemporalLoss().move(photos()))
    first, again, other = drawn
    assert first.photos.shape == photos().shape
    assert first.photos.min() >= 0
    assert first.photos.max() <= 1
    assert torch.equal(first.photos, again.photos)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.photos, other.photos)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_network_from_a_single_photo(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network, loss = TransformerNet(width=2, num_blocks=1), TemporalLoss()
    moved = loss.move(photos(1))
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        found = loss(network(photos(1)), network(moved.photos), moved)
    found.backward()
    assert found.dtype == torch.float32
    assert found > 0
    for weight in network.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
    assert network.encoder[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["weight", "motion", "occlusion", "light", "noise"])
def test_negative_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of at least 0, got -1"):
        TemporalLoss(**{name: -1})


def test_training_for_video_goes_on_as_if_never_stopped(
    configure: Configure, tiny: list[str]
) -> None:
    options = [*tiny, "experiment=video", "trainer.val_check_interval=2"]
    options.append("task.schedule=constant")  # the cosine of a shorter run would be another
    whole = train(configure([*options, "trainer.max_steps=4"]))
    cut = train(configure([*options, "trainer.max_steps=2"]))
    settings = cut / "config.yaml"
    settings.write_text(settings.read_text().replace("max_steps: 2", "max_steps: 4"))
    train(configure([f"resume={cut}"]))

    metrics = [json.loads((run / "metrics.json").read_text()) for run in (whole, cut)]
    assert metrics[0]["val/temporal"] > 0
    assert metrics[0] == metrics[1]
    states = [
        torch.load(run / "resume.ckpt", weights_only=True)["state_dict"] for run in (whole, cut)
    ]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())


def test_a_turn_is_one_of_pixels_whatever_the_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        temporal, "_random_signs", lambda photos, count: torch.tensor([[0.0, 0, 0, 1]])
    )
    monkeypatch.setattr(temporal, "_random_share", lambda photos: torch.ones(1, 1, 1, 1))
    monkeypatch.setattr(temporal, "WAVE", 0.0)
    from_where = temporal._random_motion(torch.zeros(1, 3, 20, 60))[0]  # sides from -1 to 1
    pixels = from_where * torch.tensor([30.0, 10.0])
    assert pixels[0, 30, 0].item() == pytest.approx(
        temporal.TURN * 9.5
    )  # 9.5 pixels above the middle
    assert pixels[10, 59, 1].item() == pytest.approx(temporal.TURN * 29.5)


def test_occluders_show_another_photo() -> None:
    torch.manual_seed(0)
    photos = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1).expand(2, 3, 32, 32)
    for _ in range(5):
        moved = TemporalLoss(motion=0, occlusion=2, light=0, noise=0).move(photos)
        hidden = moved.visible == 0
        assert (
            (moved.photos - photos).abs().amax(1, keepdim=True)[hidden] > 0.005
        ).float().mean() > 0.9
