"""Stylizer: size, type and opacity stay; wrong input is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import impasto
from impasto.checkpoint import CheckpointError, Header, load_checkpoint, save_checkpoint
from impasto.images import to_picture, to_tensor
from impasto.inference import Stylizer, devices
from impasto.inference.levels import opaque_levels, to_floats
from impasto.inference.palette import keep_chroma, match_colours
from impasto.inference.tiling import Canvas
from impasto.networks import MultiTransformerNet, TransformerNet

HEADER = Header(
    "stylization", "TransformerNet", {"width": 4, "num_blocks": 1}, ["starry_night"], step=10
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "starry_night.safetensors"
    save_checkpoint(path, TransformerNet(width=4, num_blocks=1), HEADER)
    return path


@pytest.fixture
def stylizer(checkpoint: Path) -> Stylizer:
    return Stylizer.load(checkpoint, device="cpu", precision="fp32")


def photo(mode: str = "RGB", width: int = 21, height: int = 13) -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, len(mode)), np.uint8)
    return Image.fromarray(levels)


def test_package_offers_the_five_lines(checkpoint: Path, tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.png")
    stylizer = impasto.Stylizer.load(str(checkpoint))
    painted = stylizer(impasto.load_image(str(tmp_path / "photo.png")))
    impasto.save_image(painted, str(tmp_path / "painted.png"))
    assert stylizer.header == HEADER
    with Image.open(tmp_path / "painted.png") as picture:
        assert picture.size == (21, 13)


def test_painting_is_what_the_network_computes(stylizer: Stylizer, checkpoint: Path) -> None:
    image = torch.rand(2, 3, 13, 21)
    with torch.no_grad():
        expected = load_checkpoint(checkpoint)[0](image)
    assert torch.allclose(stylizer(image), expected, atol=1e-5)


def test_what_torch_makes_by_default_does_not_matter(stylizer: Stylizer) -> None:
    image = torch.rand(1, 3, 16, 16)
    expected = stylizer(image)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(stylizer(image), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_single_image_is_a_batch_of_one(stylizer: Stylizer) -> None:
    image = torch.rand(3, 13, 21)
    assert torch.equal(stylizer(image), stylizer(image[None])[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_of_the_input_comes_back(stylizer: Stylizer, dtype: torch.dtype) -> None:
    painted = stylizer(torch.rand(1, 3, 9, 10).to(dtype))
    assert painted.dtype == dtype
    assert painted.shape == (1, 3, 9, 10)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (2, 3), (37, 5)])
def test_picture_keeps_its_size(stylizer: Stylizer, size: tuple[int, int]) -> None:
    assert stylizer(photo(width=size[0], height=size[1])).size == size


def test_input_is_left_alone_and_painting_is_free(stylizer: Stylizer) -> None:
    image = torch.rand(1, 3, 9, 10, requires_grad=True)
    before = image.detach().clone()
    painted = stylizer(image)
    painted.mul_(0.5)  # an inference tensor would refuse
    assert not painted.requires_grad
    assert torch.equal(image, before)


def test_any_memory_layout_is_painted_alike(stylizer: Stylizer) -> None:
    image = torch.rand(1, 3, 9, 10)
    turned = image.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(stylizer(turned), stylizer(image), atol=1e-6)
    one_pixel = torch.rand(1, 3, 1, 1)
    assert stylizer(one_pixel.expand(2, 3, 8, 8)).shape == (2, 3, 8, 8)


def test_picture_and_tensor_give_the_same_painting(stylizer: Stylizer) -> None:
    picture = photo()
    assert stylizer(picture).tobytes() == to_picture(stylizer(to_tensor(picture))).tobytes()


def test_alpha_survives_painting(stylizer: Stylizer) -> None:
    picture = photo("RGBA")
    painted = stylizer(picture)
    assert painted.mode == "RGBA"
    assert painted.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    assert painted.convert("RGB").tobytes() != picture.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_picture_of_any_mode_is_painted(stylizer: Stylizer, mode: str) -> None:
    painted = stylizer(Image.new(mode, (10, 9)))
    assert painted.mode == "RGB"
    assert painted.size == (10, 9)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 3, 8, 8, dtype=torch.int32),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(8, 8),
        torch.zeros(1, 3, 0, 8),
        torch.zeros(0, 3, 8, 8),
        np.zeros((8, 8, 3), np.float32),
    ],
    ids=["integers", "grey", "flat", "empty", "none", "array"],
)
def test_what_is_no_image_is_refused(stylizer: Stylizer, image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"got .*"):
        stylizer(image)


def test_half_precision_paints_nearly_the_same(checkpoint: Path) -> None:
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), 96, mode="bilinear")
    full = Stylizer.load(checkpoint, "cpu", "fp32")(image)
    half = Stylizer.load(checkpoint, "cpu", "bf16")(image)
    assert 0 < (full - half).abs().mean() < 2 / 255
    assert half.dtype == torch.float32


def test_plain_pictures_go_to_a_gpu_as_levels() -> None:
    picture = photo()
    levels = opaque_levels(picture)
    assert levels is not None
    assert torch.equal(to_floats(levels, torch.device("cpu")), to_tensor(picture))
    assert opaque_levels(photo("RGBA")) is None
    picture.info["transparency"] = (1, 2, 3)
    assert opaque_levels(picture) is None


def test_levels_are_painted_as_levels(stylizer: Stylizer) -> None:
    picture = photo()
    levels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)  # channels last in memory
    painted = stylizer(levels)
    assert painted.dtype == torch.uint8
    expected = torch.from_numpy(np.array(stylizer(picture))).permute(2, 0, 1)
    assert torch.equal(painted, expected)
    assert torch.equal(stylizer(torch.stack([levels, levels]))[1], expected)


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "meta", "cuda:99", ""])
def test_unknown_device_is_refused(checkpoint: Path, device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        Stylizer.load(checkpoint, device=device)


def test_unknown_precision_names_the_allowed(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="auto, fp32, bf16, fp16, got 'int8'"):
        Stylizer.load(checkpoint, precision="int8")


def test_fp16_is_refused_on_the_cpu(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="fp16 is emulated"):
        Stylizer.load(checkpoint, device="cpu", precision="fp16")


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cuda", torch.bfloat16, torch.float16),
        ("cpu", torch.bfloat16, torch.bfloat16),
        ("cpu", None, torch.float32),
        ("mps", None, torch.float32),
    ],
)
def test_auto_precision_is_what_the_device_computes(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    native: torch.dtype | None,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(devices, "half_dtype", lambda _: native)
    assert devices.choose_dtype("auto", torch.device(device)) == expected


def test_auto_device_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose_device().type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose_device().type == "cuda"


def test_checkpoint_of_another_task_is_refused() -> None:
    network = TransformerNet(width=4, num_blocks=1)
    with pytest.raises(CheckpointError, match=r"'inpainting'.*'stylization'"):
        Stylizer(network, replace(HEADER, task="inpainting"))


def test_missing_checkpoint_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No checkpoint"):
        Stylizer.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("colors", ["photo", "matched"])
def test_colours_are_those_of_the_palette(checkpoint: Path, colors: str) -> None:
    photos = torch.nn.functional.interpolate(torch.rand(2, 3, 5, 6), (20, 24), mode="bilinear")
    stylizer = Stylizer.load(checkpoint, "cpu", "fp32", colors=colors)
    painted = Stylizer.load(checkpoint, "cpu", "fp32")(photos)
    recolour = {"photo": keep_chroma, "matched": match_colours}[colors]
    result = stylizer(photos)
    assert torch.allclose(result, recolour(photos, painted), atol=1e-6)
    assert (result - painted).abs().mean() > 0.01
    levels = stylizer((photos * 255).round().byte())
    assert (levels / 255 - result).abs().mean() < 1 / 255
    picture = stylizer(to_picture(photos[0]))
    assert (to_tensor(picture) - result[0]).abs().mean() < 1 / 255


def test_hidden_pixels_do_not_count_for_matched_colours(checkpoint: Path) -> None:
    stylizer = Stylizer.load(checkpoint, "cpu", "fp32", colors="matched")
    colours = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 6), (40, 48), mode="bilinear")
    seen = torch.zeros(1, 1, 40, 48)
    seen[..., :24] = 1
    painted = stylizer(to_picture(colours * 0.4 + 0.3, seen))
    found = to_tensor(painted.convert("RGB"))[..., :24].mean((0, 2, 3))
    assert torch.allclose(found, (colours * 0.4 + 0.3)[..., :24].mean((0, 2, 3)), atol=0.01)


def test_unknown_colours_name_the_allowed(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="painting, photo, matched, got 'style'"):
        Stylizer.load(checkpoint, colors="style")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_mask_keeps_and_paints(stylizer: Stylizer, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 12, 16, dtype=torch.float64)
    images = (images * 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    mask = torch.zeros(1, 12, 16)
    mask[..., 8:] = 1
    mixed = stylizer(images, mask=mask)
    assert torch.equal(mixed[..., :8], images[..., :8])
    assert torch.equal(mixed[..., 8:], stylizer(images)[..., 8:])
    assert torch.equal(stylizer(images[0], mask=mask), mixed[0])


def test_mask_of_a_picture_is_a_picture(stylizer: Stylizer) -> None:
    picture = photo("RGBA")
    mask = Image.new("RGB", (42, 26))
    mixed = stylizer(picture, mask=mask)
    assert mixed.tobytes() == picture.tobytes()
    mask.paste("white", (0, 0, 42, 26))
    assert stylizer(picture, mask=mask).tobytes() == stylizer(picture).tobytes()
    with pytest.raises(ValueError, match="mask= of a picture must be one, got Tensor"):
        stylizer(picture, mask=torch.ones(1, 13, 21))
    with pytest.raises(ValueError, match="must be a tensor, got Image"):
        stylizer(torch.rand(3, 13, 21), mask=mask)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_paints_what_the_cpu_paints(checkpoint: Path) -> None:
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), 512, mode="bilinear")
    expected = Stylizer.load(checkpoint, "cpu", "fp32")(image)
    for precision in ("fp32", "fp16", "bf16"):
        painted = Stylizer.load(checkpoint, "cuda", precision)(image)
        assert painted.device == image.device
        assert (painted - expected).abs().mean() < 2 / 255


NIGHT = Header("stylization", "TransformerNet", {"width": 4, "num_blocks": 1}, ["night"])


def small(**options: Any) -> Stylizer:
    torch.manual_seed(1)
    return Stylizer(TransformerNet(width=4, num_blocks=1).eval(), NIGHT, "cpu", **options)


def test_knobs_leave_tiles_as_they_are() -> None:
    assert small(tile="off").with_knobs(strength=0.5).tile == "off"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_knobs_leave_precision_as_it_is(precision: str, dtype: torch.dtype) -> None:
    assert small(precision=precision).with_knobs(strength=0.5).dtype == dtype


def test_what_cannot_be_seen_of_a_picture_does_not_count_for_matched_colours() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (32, 48, 4), np.uint8)
    levels[..., 3] = 255
    levels[:, 12:, 3] = 0
    picture = Image.fromarray(levels)
    plain, matched = (small(precision="fp32", colors=c)(picture) for c in ("painting", "matched"))
    rgb, alpha = to_tensor(picture), torch.from_numpy(levels[None, None, ..., 3] / 255).float()
    expected = match_colours(
        rgb, torch.from_numpy(np.array(plain)[..., :3]).permute(2, 0, 1)[None] / 255, alpha
    )
    found = torch.from_numpy(np.array(matched)[..., :3]).permute(2, 0, 1)[None] / 255
    assert (found - expected).abs()[..., :12].mean() < 0.02


def test_canvas_has_no_regions() -> None:
    arguments = {"num_styles": 2, "strokes": [256, 512], "width": 4, "num_blocks": 1}
    header = Header("stylization", "MultiTransformerNet", arguments, ["night", "wave"])
    painter = Stylizer(MultiTransformerNet(**arguments).eval(), header, "cpu", style="night/wave")
    canvas = Canvas(8, 8, lambda region: torch.zeros(1, 3, 8, 8), lambda region, tile: None)
    with pytest.raises(ValueError, match="names 2 regions: regions= is missing"):
        painter.paint_canvas(canvas)
