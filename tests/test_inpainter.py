"""Inpainter: holes are filled at any size, nothing else changes; wrong input is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import impasto
from impasto.checkpoint import CheckpointError, Header, save_checkpoint
from impasto.inference import Inpainter, Stylizer, holes
from impasto.inference import inpainter as inpainter_module
from impasto.inference.tiling import Region
from impasto.networks import (
    ChannelwiseContextEncoder,
    ContextEncoder,
    ContextEncoderPlus,
    TransformerNet,
    prefill,
)
from impasto.networks.context_encoder import centre

HEADER = Header("inpainting", "ContextEncoderPlus", {"width": 2}, step=10)


def network(correction: float = 0.05) -> ContextEncoderPlus:
    torch.manual_seed(0)
    network = ContextEncoderPlus(width=2)
    torch.nn.init.normal_(network.to_correction.weight, std=correction)
    return network


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "inpainting.safetensors"
    save_checkpoint(path, network(), HEADER)
    return path


@pytest.fixture
def inpainter() -> Inpainter:
    return Inpainter(network(), HEADER, "cpu", "fp32")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pictures of 100 pixels a side large ones."""
    for module in (holes, inpainter_module):
        monkeypatch.setattr(module, "DIRECT_PIXELS", 40 * 40)
    for name, value in (("CONTEXT", 8), ("REACH", 6), ("TILE_SIZE", 24), ("LEAST_CELL", 4)):
        monkeypatch.setattr(holes, name, value)


def photo_and_mask(height: int, width: int, count: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise, and a block with some strokes."""
    generator = torch.Generator().manual_seed(seed)
    photo = torch.rand(count, 3, height, width, generator=generator)
    mask = torch.zeros(count, 1, height, width)
    mask[..., height // 4 : height * 2 // 3, width // 3 : width * 3 // 4 + 1] = 1
    mask[..., height // 8 : height // 8 + 2, : width // 2] = 1
    return photo, mask


def picture_and_mask(
    mode: str, size: tuple[int, int] = (21, 13)
) -> tuple[Image.Image, Image.Image]:
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    mask = Image.new("L", size)
    mask.paste(255, (5, 4, 12, 9))
    if mode == "I;16":
        deep = np.random.default_rng(0).integers(0, 65536, size[::-1], np.uint16)
        return Image.fromarray(deep), mask
    colour = Image.fromarray(levels)
    return (colour if mode == "RGBA" else colour.convert("RGB")).convert(mode), mask


def is_kept(filled: Tensor, photo: Tensor, mask: Tensor) -> bool:
    known = (mask == 0).expand_as(photo)
    return torch.equal(filled[known], photo[known])


def test_package_offers_the_five_lines(checkpoint: Path, tmp_path: Path) -> None:
    picture, mask = picture_and_mask("RGB")
    picture.save(tmp_path / "photo.png")
    inpainter = impasto.Inpainter.load(str(checkpoint))
    assert inpainter.header == HEADER
    assert inpainter(picture, mask).size == picture.size
    image = impasto.load_image(tmp_path / "photo.png")
    assert inpainter(image, torch.ones(1, 1, 13, 21).tril()).shape == image.shape


def test_strokes_in_a_small_photo_are_filled_at_twice_the_size(inpainter: Inpainter) -> None:
    photo, mask = photo_and_mask(37, 53, count=2)
    with torch.no_grad():
        filler = network().eval()
        enlarged = F.interpolate(filler(photo, mask), scale_factor=2, mode="bicubic").clamp(0, 1)
        detail = filler(enlarged, F.interpolate(mask, scale_factor=2))
    expected = F.interpolate(detail, scale_factor=0.5, mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(inpainter(photo, mask), torch.where(mask > 0, expected, photo))


def test_inside_of_a_hole_is_filled_at_the_size_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the network tells, by what it fills with, at which size it was asked."""
    inpainter = Inpainter(ContextEncoderPlus(width=2), HEADER, "cpu", "fp32")

    def run(photos: Tensor, masks: Tensor) -> Tensor:
        return torch.where(masks > 0, 0.25 if photos.shape[-1] == 200 else 0.75, photos)

    monkeypatch.setattr(inpainter, "_run", run)
    photo, mask = torch.zeros(1, 3, 200, 200), torch.zeros(1, 1, 200, 200)
    mask[..., 40:160, 40:160] = mask[..., 180:190, 20:180] = 1
    filled = inpainter(photo, mask)[0, 0]
    assert torch.all(filled[181:189, 30:170] == 0.75)  # a pixel from the border, which is crisp
    assert torch.all(filled[60:140, 60:140] == 0.25)
    inwards = filled[100, 41:60]
    assert inwards[0] == 0.75
    assert torch.all(inwards.diff() <= 0.003)
    assert inwards.diff().min() > -0.07  # evenly


def test_only_what_is_around_holes_is_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    inpainter, sizes = Inpainter(ContextEncoderPlus(width=2), HEADER, "cpu", "fp32"), []

    def run(photos: Tensor, masks: Tensor) -> Tensor:
        sizes.append(tuple(photos.shape))
        return torch.where(masks > 0, 0.5, photos)

    monkeypatch.setattr(inpainter, "_run", run)
    photos, masks = torch.rand(3, 3, 200, 150), torch.zeros(3, 1, 200, 150)
    masks[0, :, 60:64, 5:9] = masks[2, :, 80:90, 20:30] = 1
    filled = inpainter(photos, masks)
    # Two photos have as many pixels as fit; 48 pixels around holes, or up to the photo's border.
    assert sizes[:2] == [(2, 3, 200, 150), (2, 3, 2 * (48 + 4 + 48), 2 * (9 + 48))]
    assert sizes[2:] == [(1, 3, 200, 150), (1, 3, 2 * (48 + 10 + 48), 2 * (30 + 48))]
    assert torch.equal(filled.where(masks == 0, 0), photos.where(masks == 0, 0))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.usefixtures("small_steps")
def test_what_is_known_stays_bit_for_bit(
    inpainter: Inpainter, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inpainter, "_run", lambda photos, masks: 1 - photos)  # changes all of it
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 200, 2))
    photo = torch.rand(1, 3, height, width)
    mask = (torch.rand(1, 1, height, width) < rng.random() ** 3).float()
    mask[..., : height // 2, : width // 3] = 1
    mask[..., -1, -1] = 0
    filled = inpainter(photo, mask)
    assert is_kept(filled, photo, mask)
    levels = (photo * 255).round().to(torch.uint8)
    assert is_kept(inpainter(levels, mask), levels, mask)


@pytest.mark.usefixtures("small_steps")
def test_what_the_hole_holds_does_not_matter(inpainter: Inpainter) -> None:
    for size in ((30, 34), (90, 101)):
        photo, mask = photo_and_mask(*size)
        spoilt = photo.masked_fill(mask > 0, torch.nan)
        assert torch.equal(inpainter(spoilt, mask), inpainter(photo, mask))


@pytest.mark.usefixtures("small_steps")
def test_large_hole_has_no_seams() -> None:
    """What is linear is filled as that, whatever windows, sizes and tiles it takes."""
    inpainter = Inpainter(ContextEncoderPlus(width=2), HEADER, "cpu", "fp32")
    down, across = torch.linspace(0, 0.5, 120)[:, None], torch.linspace(0, 0.5, 150)
    photo = (down + across).expand(1, 3, -1, -1).contiguous()
    mask = torch.zeros(1, 1, 120, 150)
    mask[..., 20:95, 30:110] = 1
    mask[..., 100:104, 5:140] = 1
    filled = inpainter(photo, mask)
    assert (filled - photo).abs().max() < 0.02
    steps = [filled.diff(dim=dim).sub(photo.diff(dim=dim)).abs().max() for dim in (2, 3)]
    assert max(steps) < 0.006


@pytest.mark.usefixtures("small_steps")
def test_holes_far_apart_are_filled_on_their_own() -> None:
    missing = torch.zeros(1, 1, 200, 300, dtype=torch.bool)
    missing[..., 10:15, 20:27] = True
    missing[..., 150:190, 230:240] = True
    missing[..., 191:192, 242:243] = True
    boxes = holes.group_holes(missing)
    assert [(b.top, b.left, b.bottom, b.right) for b in boxes] == [
        (10, 20, 15, 27),
        (150, 230, 192, 243),
    ]


def test_groups_hold_every_missing_pixel_once() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        missing = torch.rand(1, 1, 700, 900, generator=generator) < 3e-6 * 10 ** (seed % 4)
        count = torch.zeros(1, 1, 700, 900)
        for box in holes.group_holes(missing):
            holes.cut(count, box).add_(1)
        assert bool((count[missing] == 1).all())
        assert count.max() <= 1


def test_detail_is_for_strokes_and_near_the_border() -> None:
    missing = torch.zeros(1, 1, 300, 400, dtype=torch.bool)
    missing[..., 100:250, 100:300] = True
    missing[..., 20:60, :] = True
    share = holes.detail_share(missing)[0, 0]
    assert bool((share[20:60] == 1).all())
    assert share[175, 101] == share[175, 114] == 1
    assert 0 < share[175, 125] < 1
    assert share[175, 200] == share[175, 132] == 0


def test_halving_averages_what_is_known() -> None:
    photo = torch.full((1, 3, 4, 3), 9.0)
    photo[..., 0, 0], photo[..., 1, 0], photo[..., 2, :] = 0.2, 0.4, 0.7
    small, missing = holes.halve(photo, photo[:, :1] == 9)
    assert missing.tolist() == [[[[False, True], [False, False]]]]
    torch.testing.assert_close(small[0, 0], torch.tensor([[0.3, 0.0], [0.7, 0.7]]))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_picture_keeps_mode_and_known_pixels(inpainter: Inpainter, mode: str) -> None:
    picture, mask = picture_and_mask(mode)
    filled = inpainter(picture, mask)
    assert (filled.mode, filled.size) == (mode, picture.size)
    before, after = np.array(picture), np.array(filled)
    hole = np.array(mask) > 0
    assert np.array_equal(before[~hole], after[~hole])
    assert not np.array_equal(before[hole], after[hole])
    if mode in ("LA", "RGBA"):
        assert np.array_equal(before[..., -1], after[..., -1])
    if mode == "I;16":
        assert len(np.unique(after[hole] % 257)) > 5  # not 8 bits made wide


@pytest.mark.parametrize(("mode", "expected"), [("P", "RGB"), ("1", "L"), ("CMYK", "RGB")])
def test_other_modes_become_plain(inpainter: Inpainter, mode: str, expected: str) -> None:
    picture, mask = picture_and_mask(mode)
    filled = inpainter(picture, mask)
    assert filled.mode == expected
    known = np.array(mask) == 0
    assert np.array_equal(np.array(filled)[known], np.array(picture.convert(expected))[known])


def test_transparent_colour_of_a_palette_is_kept(inpainter: Inpainter) -> None:
    picture, mask = picture_and_mask("P")
    picture.info["transparency"] = picture.getpixel((0, 0))
    filled = inpainter(picture, mask)
    assert filled.getchannel("A").tobytes() == picture.convert("RGBA").getchannel("A").tobytes()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pictures_of_32_bits_are_refused(inpainter: Inpainter, mode: str) -> None:
    picture, mask = picture_and_mask("L")
    with pytest.raises(ValueError, match=rf"mode {mode} \(32 bits\) cannot be filled: convert"):
        inpainter(picture.convert(mode), mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8])
def test_type_of_the_input_comes_back(inpainter: Inpainter, dtype: torch.dtype) -> None:
    photo, mask = photo_and_mask(9, 10)
    photo = (photo * 255).to(dtype) if dtype == torch.uint8 else photo.to(dtype)
    filled = inpainter(photo, mask)
    assert (filled.dtype, filled.shape) == (dtype, photo.shape)
    assert is_kept(filled, photo, mask)
    filled.mul_(0)  # an inference tensor would refuse


def test_masks_of_any_type_and_form(inpainter: Inpainter) -> None:
    photo, mask = photo_and_mask(20, 24, count=2)
    expected = inpainter(photo, mask)
    for same in (mask > 0, (mask * 255).to(torch.uint8), mask[:1], mask[0]):
        assert torch.equal(inpainter(photo, same), expected)
    assert torch.equal(inpainter(photo[0], mask[0]), inpainter(photo[:1], mask[:1])[0])


def test_mask_picture_is_resized(inpainter: Inpainter) -> None:
    picture, mask = picture_and_mask("RGB")
    large = mask.resize((42, 26), Image.Resampling.NEAREST)
    assert inpainter(picture, large).tobytes() == inpainter(picture, mask).tobytes()


def test_empty_mask_gives_the_input(inpainter: Inpainter) -> None:
    photo, mask = photo_and_mask(20, 24)
    assert torch.equal(inpainter(photo, mask * 0), photo)
    for mode in ("RGB", "CMYK", "F"):
        picture, drawn = picture_and_mask(mode)
        same = inpainter(picture, Image.new("L", drawn.size))
        assert (same.mode, same.tobytes()) == (picture.mode, picture.tobytes())


def test_full_mask_is_refused(inpainter: Inpainter) -> None:
    photo, mask = photo_and_mask(20, 24, count=2)
    mask[1] = 1
    with pytest.raises(ValueError, match=r"marks all 20 x 24 pixels .*invert the mask"):
        inpainter(photo, mask)


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        (
            torch.rand(3, 9, 9),
            torch.zeros(1, 9, 8),
            r"\(1, 1, 9, 9\) or \(1, 9, 9\).*got \(1, 9, 8",
        ),
        (torch.rand(3, 9, 9), torch.zeros(9, 9), r"got \(9, 9\)"),
        (torch.rand(2, 3, 9, 9), torch.zeros(3, 1, 9, 9), r"\(2, 1, 9, 9\).*got \(3, 1, 9, 9\)"),
        (torch.rand(3, 9, 9), torch.zeros(3, 9, 9), r"got \(3, 9, 9\)"),
        (torch.rand(3, 9, 9), None, r"A mask is a tensor or a PIL picture, got NoneType"),
        (torch.rand(1, 9, 9), torch.zeros(1, 9, 9), r"An image must be of shape .*got \(1, 9, 9\)"),
        (torch.zeros(3, 9, 9).int(), torch.zeros(1, 9, 9), r"floats in \[0, 1\].*got torch\.int32"),
    ],
)
def test_wrong_input_is_refused(
    inpainter: Inpainter, photo: Tensor, mask: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        inpainter(photo, mask)


def test_half_precision_is_close(checkpoint: Path) -> None:
    photo, mask = photo_and_mask(64, 80)
    full = Inpainter.load(checkpoint, "cpu", "fp32")(photo, mask)
    half = Inpainter.load(checkpoint, "cpu", "bf16")(photo, mask)
    assert half.dtype == torch.float32
    assert is_kept(half, photo, mask)
    assert 0 < (full - half).abs().max() < 3 / 255


def test_first_network_fills_the_middle_of_a_window() -> None:
    with torch.device("meta"):  # to draw 71 million weights takes seconds
        faithful = ContextEncoder()
    faithful.to_empty(device="cpu").eval()
    for weight in faithful.state_dict().values():
        weight.fill_(0.01)
    inpainter = Inpainter(faithful, Header("inpainting", "ContextEncoder"), "cpu", "fp32")
    photo, mask = torch.rand(1, 3, 128, 128), torch.zeros(1, 1, 128, 128)
    centre(mask).fill_(1)
    with torch.no_grad():
        expected = faithful(prefill(photo, mask), mask)
    filled = inpainter(photo, mask)
    torch.testing.assert_close(filled, expected)
    assert is_kept(filled, photo, mask)
    for size, hole in (((200, 150), (0, 0, 90, 7)), ((40, 300), (30, 250, 40, 300))):
        photo, mask = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
        mask[..., hole[0] : hole[2], hole[1] : hole[3]] = 1
        filled = inpainter(photo, mask)
        assert is_kept(filled, photo, mask)
        assert not torch.equal(filled, prefill(photo, mask))


def test_channelwise_network_takes_any_hole() -> None:
    torch.manual_seed(0)
    header = Header("inpainting", "ChannelwiseContextEncoder")
    inpainter = Inpainter(ChannelwiseContextEncoder(), header, "cpu", "fp32")
    for size in ((128, 128), (60, 200)):
        photo, mask = photo_and_mask(*size)
        filled = inpainter(photo, mask)
        assert is_kept(filled, photo, mask)
        assert torch.equal(filled, inpainter(photo.masked_fill(mask > 0, torch.nan), mask))


def test_checkpoints_of_another_task_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    style = tmp_path / "style.safetensors"
    arguments = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["night"])
    save_checkpoint(style, TransformerNet(width=4, num_blocks=1), header)
    with pytest.raises(CheckpointError, match=r"'stylization', .*'inpainting'; Stylizer takes it"):
        Inpainter.load(style)
    with pytest.raises(CheckpointError, match=r"'inpainting', .*'stylization'; Inpainter takes it"):
        Stylizer.load(checkpoint)
    with pytest.raises(CheckpointError, match="TransformerNet is no network that fills holes"):
        Inpainter(TransformerNet(width=4, num_blocks=1), HEADER)
    assert Inpainter.takes(checkpoint)
    assert not Inpainter.takes(style)
    assert not Inpainter.takes(tmp_path / "nothing")
    (tmp_path / "broken").write_bytes(b"broken")
    assert not Inpainter.takes(tmp_path / "broken")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_fills_what_the_cpu_fills(checkpoint: Path) -> None:
    for size in ((200, 300), (700, 900)):
        photo, mask = photo_and_mask(*size)
        expected = Inpainter.load(checkpoint, "cpu", "fp32")(photo, mask)
        for precision in ("fp32", "fp16", "bf16"):
            filled = Inpainter.load(checkpoint, "cuda", precision)(photo, mask)
            assert filled.device == photo.device
            assert is_kept(filled, photo, mask)
            assert (filled - expected).abs().mean() < 2 / 255


def test_holes_close_to_each_other_share_a_window() -> None:
    missing = torch.zeros(1, 1, 400, 400, dtype=torch.bool)
    missing[..., 100:104, 100:104] = missing[..., 100:104, 150:154] = True
    assert holes.group_holes(missing) == [Region(100, 100, 104, 154)]


def test_large_holes_are_the_middle_half_of_their_window() -> None:
    assert holes.window_around(Region(400, 400, 800, 600), 1200, 1000) == Region(
        200, 300, 1000, 700
    )


def test_tiles_fade_into_each_other() -> None:
    greys = iter(torch.linspace(0, 1, 16))
    filled = holes._fill_tiles(
        lambda photo, missing: torch.full_like(photo, float(next(greys))),
        torch.zeros(1, 3, 40, 90),
        torch.ones(1, 1, 40, 90, dtype=torch.bool),
        tile_size=24,
        reach=6,
    )
    assert filled.diff(dim=3).abs().max() < 0.02  # a fifteenth, over 12 pixels


def test_scratches_are_what_is_narrow() -> None:
    picture = Image.new("L", (300, 200))
    canvas = ImageDraw.Draw(picture)
    canvas.line((10, 10, 290, 60), fill=255, width=4)
    canvas.ellipse((100, 80, 180, 160), fill=255)
    canvas.rectangle((220, 100, 260, 140), fill=255)
    missing = torch.from_numpy(np.array(picture) > 0)[None, None]
    scratches = holes.find_scratches(missing)
    assert torch.equal(scratches[..., :70, :], missing[..., :70, :])
    assert not scratches[..., 70:, :].any()
    missing[..., 118:121, 180:220] = True  # from one wide hole to the other
    found = holes.find_scratches(missing)[0, 0, 70:]
    assert found.any()
    assert torch.equal(found.nonzero().amin(0), torch.tensor([118 - 70, 181 + holes.SCRATCH_WIDTH]))


def test_width_of_a_scratch() -> None:
    missing = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    missing[..., 5 : 5 + holes.SCRATCH_WIDTH, :] = True
    assert torch.equal(holes.find_scratches(missing), missing)
    missing[..., 5 : 5 + holes.SCRATCH_WIDTH + 1, :] = True
    assert not holes.find_scratches(missing).any()


def test_scratches_in_a_large_photo_are_filled_at_twice_the_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here the network tells what it is shown: white, and grey where that is enlarged."""
    inpainter, enlarged = Inpainter(ContextEncoderPlus(width=2), HEADER, "cpu", "fp32"), []

    def run(photos: Tensor, masks: Tensor) -> Tensor:
        pairs = masks[..., : len(masks[0, 0]) // 2 * 2, :].unflatten(2, (-1, 2))
        is_enlarged = bool((pairs[..., 0, :] == pairs[..., 1, :]).all())
        enlarged.extend([tuple(photos.shape[2:])] * is_enlarged)
        return torch.where(masks > 0, 0.5 if is_enlarged else 1.0, photos)

    monkeypatch.setattr(inpainter, "_run", run)
    photo, mask = torch.zeros(1, 3, 400, 500), torch.zeros(1, 1, 400, 500)
    mask[..., 101:104, :] = mask[..., 201:262, 301:362] = 1
    filled = inpainter(photo, mask)[0, 0]
    assert filled[102].min() > 0.4
    assert filled[102].max() < 0.75
    assert filled[210, 305] == 1
    assert set(enlarged) <= {(70, side) for side in range(150, 200)}
    assert is_kept(filled[None, None].expand(1, 3, -1, -1), photo, mask)


class Seeing(ContextEncoder):
    """Takes notes of what it is shown."""

    def __init__(self, centre_only=True):
        nn.Module.__init__(self)
        self.centre_only, self.seen = centre_only, []

    def forward(self, photos, masks):
        if self.centre_only:
            outside = masks.clone()
            outside[..., 32:96, 32:96] = 0
            assert not outside.any()
        self.seen.append((photos.clone(), masks.clone()))
        return photos.mean((2, 3), keepdim=True).expand_as(photos).clone()


def seeing(centre_only=True):
    network = Seeing(centre_only)
    return network, Inpainter(network, Header("inpainting", "ContextEncoder"), "cpu", "fp32")


def two_holes():
    mask = torch.zeros(1, 1, 700, 700)
    mask[..., 100:300, 100:300] = mask[..., 340:540, 340:540] = 1
    return mask


def test_network_for_the_middle_is_told_of_one_hole_at_a_time() -> None:
    network, inpainter = seeing()
    inpainter(torch.rand(1, 3, 700, 700), two_holes())
    assert len(network.seen) == 2


def test_network_for_the_middle_does_not_see_what_other_holes_hold() -> None:
    photo, mask = torch.rand(1, 3, 700, 700), two_holes()
    black, white = (seeing()[1](photo.masked_fill(mask > 0, level), mask) for level in (0, 1))
    assert torch.equal(black, white)


def test_beyond_the_border_a_window_repeats_it() -> None:
    network, inpainter = seeing()
    mask = torch.zeros(1, 1, 200, 200)
    mask[..., 0:20, 0:20] = 1
    inpainter(torch.full((1, 3, 200, 200), 0.6), mask)
    torch.testing.assert_close(network.seen[0][0], torch.full((1, 3, 128, 128), 0.6))


def test_thin_holes_are_not_lost_where_windows_are_reduced() -> None:
    network, inpainter = seeing(centre_only=False)
    mask = torch.zeros(1, 1, 600, 600)
    mask[..., 300, 20:580] = 1
    inpainter(torch.rand(1, 3, 600, 600), mask)
    assert (network.seen[0][1] > 0.5).any()


def test_file_without_any_header_is_for_no_task(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert not Inpainter.takes(tmp_path / "other.safetensors")
