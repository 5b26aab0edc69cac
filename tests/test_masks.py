"""Masks: what in a file counts as missing, and random ones that depend on their number alone."""

import hashlib
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.data.irregular import IrregularMasks
from impasto.data.masks import FAMILIES, centre, draw_mask
from impasto.data.mix import MaskMix
from impasto.masks import dilate_mask, load_mask, missing_share, to_mask

RANDOM = [name for name in FAMILIES if name != "centre"]
SIZES = [(64, 64), (128, 128), (256, 256), (37, 91), (91, 37), (16, 16), (16, 200)]


def mask_of(rows: list[str]) -> Tensor:
    """A mask with 1 where a row has an x."""
    return torch.tensor([[[[float(cell == "x") for cell in row] for row in rows]]])


def saved(path: Path, levels: object, mode: str = "L", **arguments: object) -> Path:
    Image.fromarray(np.array(levels, np.uint8)).convert(mode).save(path, **arguments)
    return path


def test_white_is_missing_and_grey_is_cut_at_half(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", [[0, 127, 128, 255]])
    mask = load_mask(path)
    assert mask.dtype == torch.float32
    assert torch.equal(mask, torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]]))
    assert torch.equal(load_mask(path, invert=True), 1 - mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_mask_of_any_mode_is_the_same(mode: str, tmp_path: Path) -> None:
    levels = np.zeros((6, 8), np.uint8)
    levels[1:4, 2:7] = 255
    if mode == "I;16":
        Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "mask.png")
    else:
        saved(tmp_path / "mask.png", levels, mode)
    expected = torch.from_numpy(levels / 255).float()[None, None]
    assert torch.equal(load_mask(tmp_path / "mask.png"), expected)


def test_jpeg_of_a_mask_is_that_mask(tmp_path: Path) -> None:
    levels = np.zeros((64, 64), np.uint8)
    levels[13:40, 9:50] = 255
    path = saved(tmp_path / "mask.jpg", levels, quality=60)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2  # soft it is
    assert torch.equal(load_mask(path)[0, 0], torch.from_numpy(levels / 255).float())


@pytest.mark.parametrize("colour", [0, 90, 255])
def test_strokes_of_any_colour_on_a_transparent_layer_are_missing(colour: int) -> None:
    layer = np.full((4, 5, 4), colour, np.uint8)
    layer[..., 3] = 0
    layer[1:3, 2:4, 3] = (200, 255)
    expected = mask_of([".....", "..xx.", "..xx.", "....."])
    assert torch.equal(to_mask(Image.fromarray(layer)), expected)
    assert torch.equal(to_mask(Image.fromarray(layer), invert=True), 1 - expected)


def test_slightly_transparent_picture_counts_as_opaque() -> None:
    layer = np.zeros((1, 2, 4), np.uint8)
    layer[..., 3] = 250
    layer[0, 1, :3] = 255
    assert torch.equal(to_mask(Image.fromarray(layer)), mask_of([".x"]))


def test_palette_with_a_transparent_colour_is_a_layer(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", [[0, 255, 0]], "P", transparency=0)
    assert torch.equal(load_mask(path), mask_of([".x."]))


def test_mask_is_resized_to_the_nearest_pixel(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", [[0, 255], [255, 0]])
    assert torch.equal(load_mask(path, size=(2, 4)), mask_of(["..xx", "xx.."]))
    levels = np.random.default_rng(0).integers(0, 256, (37, 91))
    mask = load_mask(saved(path, levels), size=(64, 17))
    assert mask.shape == (1, 1, 64, 17)
    assert set(mask.unique().tolist()) == {0, 1}


def test_dilation_grows_a_square_after_inverting_and_resizing(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", [[255] * 5, [255] * 5, [255, 255, 0, 255, 255]])
    expected = mask_of([".....", ".xxx.", ".xxx."])
    assert torch.equal(load_mask(path, invert=True, dilate=1), expected)
    grown = load_mask(path, size=(6, 10), invert=True, dilate=1)
    assert grown.sum() == 3 * 4  # 2 x 2 pixels, one more above, left and right


def test_dilation_farther_than_the_picture_fills_it() -> None:
    assert dilate_mask(mask_of(["....x", "....."]), 1000).all()
    assert not dilate_mask(mask_of([".....", "....."]), 1000).any()


def test_empty_and_full_masks_can_be_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", np.zeros((300, 700)))
    masks = torch.cat([load_mask(path), load_mask(path, invert=True)])
    assert missing_share(masks).tolist() == [0, 1]
    assert missing_share(mask_of(["x...", "...x"])).tolist() == [0.25]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 99])
def test_file_that_is_no_picture_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mask\.png cannot be read as a picture") as caught:
        load_mask(path)
    assert "\n" not in str(caught.value)


def test_cut_large_and_missing_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "mask.png", np.random.default_rng(0).integers(0, 256, (200, 200)))
    with pytest.raises(ValueError, match=r"is too large .* raise max_pixels") as large:
        load_mask(path, max_pixels=39_000)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read") as cut:
        load_mask(path)
    with pytest.raises(FileNotFoundError, match="No picture at") as missing:
        load_mask(tmp_path / "none.png")
    for caught in (large, cut, missing):
        assert "\n" not in str(caught.value)


def test_sizes_and_dilations_out_of_range_are_refused() -> None:
    picture = Image.new("L", (4, 4))
    with pytest.raises(ValueError, match=r"at least 1 x 1 pixel, got a size of \(0, 4\)"):
        to_mask(picture, size=(0, 4))
    with pytest.raises(ValueError, match="at least 0 pixels, got -1"):
        to_mask(picture, dilate=-1)


def test_centre_of_the_paper() -> None:
    mask = draw_mask(centre, 128, 128, seed=0, number=0)
    expected = torch.zeros(1, 1, 128, 128)
    expected[..., 32:96, 32:96] = 1
    assert torch.equal(mask, expected)
    inset = np.argwhere(centre(128, 128, overlap=7))
    assert inset.min() == 39
    assert inset.max() == 88
    assert centre(17, 32).sum() == 8 * 16


@pytest.mark.parametrize("overlap", [-1, 8])
def test_overlap_that_leaves_nothing_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match=f"shorter side, which has 32 pixels, got {overlap}"):
        centre(64, 32, overlap=overlap)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_areas_are_from_5_to_50_percent(name: str, size: tuple[int, int]) -> None:
    masks = torch.cat([draw_mask(FAMILIES[name], *size, seed, 3) for seed in range(200)])
    assert masks.shape == (200, 1, *size)
    assert masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0, 1}
    shares = missing_share(masks)
    low, high = (0.2, 0.3) if name == "region" else (0.05, 0.5)
    assert low <= shares.min()
    assert shares.max() <= high
    if name != "centre":
        assert shares.max() - shares.min() > 0.03  # they differ
        assert len({mask.numpy().tobytes() for mask in masks}) >= 195


@pytest.mark.parametrize("name", RANDOM)
def test_every_place_goes_missing_about_equally_often(name: str) -> None:
    masks = torch.cat([draw_mask(FAMILIES[name], 32, 32, 0, number) for number in range(400)])
    quarters = torch.nn.functional.avg_pool2d(masks.mean(0), 16)
    assert (quarters / quarters.mean() - 1).abs().max() < 0.2


def test_brushes_get_thicker() -> None:
    def borders(name: str) -> float:
        masks = torch.cat([draw_mask(FAMILIES[name], 128, 128, 0, n) for n in range(30)])
        return float(masks.diff(dim=3).abs().sum() / masks.sum())

    thin, medium, thick = (borders(f"brush_{name}") for name in ("thin", "medium", "thick"))
    assert thin > 1.5 * medium > 2.25 * thick


def test_a_mask_depends_on_seed_and_number_alone() -> None:
    for family in FAMILIES.values():
        first = draw_mask(family, 64, 64, seed=1, number=7)
        draw_mask(family, 64, 64, seed=1, number=8)
        np.random.default_rng(0).random()
        assert torch.equal(draw_mask(family, 64, 64, seed=1, number=7), first)


DIGEST = """
import hashlib
from impasto.data.masks import FAMILIES, draw_mask
from impasto.data.mix import MaskMix
masks = [
    draw_mask(family, 48, 80, seed=5, number=number)
    for family in (*FAMILIES.values(), MaskMix())
    for number in (9, 4)
]
digest = hashlib.sha256(b"".join(mask.numpy().tobytes() for mask in masks)).hexdigest()
"""


def test_another_process_draws_the_same_masks() -> None:
    here: dict[str, str] = {}
    exec(DIGEST, here)
    command = [sys.executable, "-c", DIGEST + "print(digest)"]
    there = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert there.stdout.strip() == here["digest"]


@pytest.mark.parametrize("name", FAMILIES)
def test_tiny_masks_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="from 16 pixels a side up, got 15 x 64"):
        draw_mask(FAMILIES[name], 15, 64, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Mask files: two that can be used, one empty, one full."""
    masks = tmp_path / "masks"
    masks.mkdir()
    levels = np.zeros((60, 90), np.uint8)
    saved(masks / "empty.png", levels)
    saved(masks / "full.png", levels + 255)
    levels[:20, :30] = 255
    saved(masks / "corner.png", levels)
    levels[30:, 60:] = 255
    saved(masks / "corners.png", levels)
    return masks


@pytest.mark.parametrize("size", [(64, 64), (37, 91), (700, 650)])
def test_mask_files_are_turned_and_within_bounds(folder: Path, size: tuple[int, int]) -> None:
    family = IrregularMasks(folder)
    masks = torch.cat([draw_mask(family, *size, 0, number) for number in range(60)])
    assert masks.shape == (60, 1, *size)
    shares = missing_share(masks)
    assert shares.min() >= 0.05
    assert shares.max() <= 0.5
    corners = {tuple(mask[0, (0, 0, -1, -1), (0, -1, 0, -1)].tolist()) for mask in masks}
    assert len(corners) >= 6


def test_square_mask_files_come_in_eight_ways_and_whole(tmp_path: Path) -> None:
    levels = np.zeros((32, 32), np.uint8)
    levels[:16, :8] = 255
    levels[0, 9] = 255
    saved(tmp_path / "mask.png", levels)
    family = IrregularMasks(tmp_path)
    masks = {draw_mask(family, 32, 32, 0, n).numpy().tobytes(): n for n in range(100)}
    assert len(masks) == 8
    assert all(draw_mask(family, 32, 32, 0, n).sum() == 129 for n in masks.values())


def test_large_mask_files_are_kept_small(tmp_path: Path) -> None:
    levels = np.zeros((1100, 1300), np.uint8)
    levels[:550, :] = 255
    saved(tmp_path / "mask.png", levels)
    mask = draw_mask(IrregularMasks(tmp_path, invert=True), 64, 64, 0, 0)
    assert missing_share(mask).item() == 0.5


def test_broken_mask_file_is_passed_over_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    family = IrregularMasks(folder)
    with caplog.at_level(logging.WARNING):
        for number in range(30):
            draw_mask(family, 32, 32, 0, number)
    assert len(caplog.messages) == 1
    assert "broken.png cannot be read" in caplog.messages[0]


def test_folder_without_a_mask_to_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No folder at"):
        IrregularMasks(tmp_path / "none")
    with pytest.raises(ValueError, match="No masks in"):
        IrregularMasks(tmp_path)
    saved(tmp_path / "empty.png", np.zeros((20, 20)))
    with pytest.raises(ValueError, match=r"from 5% to 50% missing.*invert them") as caught:
        IrregularMasks(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="dilate must be at least 0 pixels, got -1"):
        IrregularMasks(tmp_path, dilate=-1)


def test_mix_draws_families_as_often_as_weighted(folder: Path) -> None:
    mix = MaskMix({"centre": 3, "region": 0, "irregular": 1}, folder, overlap=4)
    middle = torch.from_numpy(centre(64, 64, overlap=4))
    masks = [draw_mask(mix, 64, 64, 0, number)[0, 0].bool() for number in range(400)]
    share = np.mean([torch.equal(mask, middle) for mask in masks])
    assert share == pytest.approx(0.75, abs=0.06)


def test_family_without_weight_is_none_of_a_mix() -> None:
    mix = MaskMix({"centre": 1, "block": 0, "irregular": 0})
    assert len(mix.families) == 1


def test_folder_of_masks_is_a_family_of_the_default_mix(folder: Path) -> None:
    assert len(MaskMix(folder=folder).families) == len(MaskMix().families) + 1


def test_mask_files_can_be_inverted_and_dilated(tmp_path: Path) -> None:
    levels = np.full((32, 32), 255)
    levels[8:24, 8:24] = 0  # black where something is missing
    saved(tmp_path / "mask.png", levels)
    shares = [
        draw_mask(
            MaskMix({"irregular": 1}, tmp_path, invert=True, dilate=pixels), 32, 32, 0, 0
        ).mean()
        for pixels in (0, 2)
    ]
    assert shares == [pytest.approx(0.25), pytest.approx((20 / 32) ** 2)]


def test_default_mix_travels_to_workers_unchanged() -> None:
    mix = MaskMix()
    there = pickle.loads(pickle.dumps(mix))
    digests = {
        hashlib.sha256(draw_mask(m, 64, 64, 0, 5).numpy().tobytes()).hexdigest()
        for m in (mix, there)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"circle": 1}, "got circle, allowed are centre, block, region, brush_thin"),
        ({"irregular": 1}, "come from files: give a folder"),
        ({"centre": -1, "block": 2}, "at least 0 and not all 0"),
        ({"centre": 0}, "at least 0 and not all 0"),
        ({"centre": float("nan")}, "at least 0 and not all 0"),
        ({}, "at least 0 and not all 0"),
    ],
)
def test_mix_that_cannot_be_is_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskMix(weights)


def test_centre_of_odd_sizes_is_the_middle() -> None:
    missing = centre(19, 23)
    assert np.array_equal(missing, missing[::-1])


def test_reduced_masks_are_not_moved() -> None:
    mask = Image.fromarray(np.array([[0, 0, 255]], np.uint8))
    assert to_mask(mask, (1, 2)).flatten().tolist() == [0, 1]
