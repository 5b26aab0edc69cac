"""infer.py with the knobs of style networks: style, strength, stroke, regions and protect."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import huge
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.inference import Stylizer
from impasto.manifest import MANIFEST_NAME
from impasto.networks import ContextEncoderPlus, MultiTransformerNet, TransformerNet

WIDTH, HEIGHT = 48, 24
ARGUMENTS = {"num_styles": 2, "strokes": [256, 512], "width": 4, "num_blocks": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own folder with a checkpoint of two styles, a photo, and a picture of two labels."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = MultiTransformerNet(**ARGUMENTS)
    for rows in (network.style_rows, network.stroke_rows, network.strength_row):
        torch.nn.init.normal_(rows, std=0.3)
    header = Header("stylization", "MultiTransformerNet", ARGUMENTS, ["night", "wave"])
    save_checkpoint(Path("paintings.safetensors"), network, header)
    draw("photo.png")
    draw_labels("labels.png")


def draw(path: str) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(colours)
    picture.save(path)
    return picture


def draw_labels(path: str, right: int = 255) -> None:
    labels = Image.new("L", (WIDTH, HEIGHT))
    labels.paste(right, (WIDTH // 2, 0, WIDTH, HEIGHT))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    labels.save(path)


def infer(*arguments: str) -> int:
    return main(["ckpt=paintings.safetensors", "device=cpu", "precision=fp32", *arguments])


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB")).astype(int)


def painted(**knobs: object) -> np.ndarray:
    """The photo as a stylizer paints it."""
    stylizer = Stylizer.load("paintings.safetensors", "cpu", "fp32", **knobs)  # type: ignore[arg-type]
    with Image.open("photo.png") as photo:
        return np.array(stylizer(photo)).astype(int)


def test_knobs_are_those_of_the_stylizer() -> None:
    knobs = {"style": "night:0.7,wave:0.3", "strength": 0.6, "stroke": 400, "colors": "photo"}
    arguments = [f"{name}={value}" for name, value in knobs.items()]
    assert infer("input=photo.png", "output=painted.png", *arguments) == 0
    assert (pixels("painted.png") == painted(**knobs)).all()
    assert infer("input=photo.png", "output=plain.png") == 0
    assert (pixels("plain.png") == painted()).all()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "photo_night.png"),
        (["style=wave"], "photo_wave.png"),
        (["style=night:0.7,wave:0.3"], "photo_night_0_7_wave_0_3.png"),
        (["style=night/photo", "regions=labels.png"], "photo_night_photo.png"),
        (["style=" + ",".join(30 * ["wave"])], f"photo_{'_'.join(12 * ['wave'])}.png"),
    ],
)
def test_painting_is_named_after_the_style_asked_for(arguments: list[str], name: str) -> None:
    assert infer("input=photo.png", *arguments) == 0
    assert Path(name).is_file()


def test_regions_and_protection_are_laid_on_each_other() -> None:
    arguments = ["input=photo.png", "style=wave/photo", "regions=labels.png"]
    assert infer(*arguments, "output=regions.png") == 0
    regions = pixels("regions.png")
    assert (regions[:, :20] == painted(style="wave")[:, :20]).all()
    assert (regions[:, 28:] == pixels("photo.png")[:, 28:]).all()
    Image.new("L", (3, 3), 255).save("white.png")
    assert infer(*arguments, "protect=white.png", "output=protected.png") == 0
    weak = painted(style="wave", strength=0.35)
    assert (pixels("protected.png")[:, :20] == weak[:, :20]).all()


def test_folders_of_labels_and_protection_go_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.png", "c.png"):
        draw(f"photos/{name}")
    for name in ("a.png", "b.png"):
        draw_labels(f"photos/labels/{name}")
    draw_labels("guard/a.png")
    draw_labels("guard/b.png")
    draw_labels("guard/c.png")
    arguments = ["style=photo/wave", "regions=photos/labels", "protect=guard", "format=png"]
    assert infer("input=photos", "output=painted", *arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("photos/c.png has no label picture in photos/labels: one named")
    assert "painted: 2 painted" in captured.out
    left = (slice(None), slice(0, 20))
    assert (pixels("painted/a.png")[left] == pixels("photos/a.jpg")[left]).all()


def test_record_knows_knobs_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    draw("photos/a.png")

    def num_painted(*arguments: str) -> int:
        assert infer("input=photos", "output=painted", *arguments) == 0
        found = re.search(r"(\d+) painted", capsys.readouterr().out)
        return int(found[1]) if found else 0

    assert num_painted() == 1
    line = Path("painted", MANIFEST_NAME).read_text().splitlines()[-1]
    assert set(json.loads(line)["recipe"]) == {"ckpt", "precision", "quality", "tile"}
    regions = ["style=night/wave", "regions=labels.png"]
    protect = ["protect=guard.png"]
    draw_labels("guard.png")
    for change in (["style=wave"], ["strength=0.5"], ["stroke=512"], regions, protect):
        assert num_painted(*change) == 1
        assert num_painted(*change) == 0
    draw_labels("guard.png", right=128)
    assert num_painted(*protect) == 1
    assert num_painted(*regions) == 1
    draw_labels("labels.png", right=128)
    assert num_painted(*regions) == 1


def test_animation_has_the_same_regions_in_all_frames() -> None:
    photo = draw("photo.png")
    frames = [photo, photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    frames[0].save("film.png", save_all=True, append_images=frames[1:], duration=100)
    arguments = ["input=film.png", "style=photo/wave", "regions=labels.png", "output=painted.png"]
    assert infer(*arguments) == 0
    with Image.open("painted.png") as animation:
        assert animation.n_frames == 2
        for number, frame in enumerate(frames):
            animation.seek(number)
            after = np.array(animation.convert("RGB"))
            assert (after[:, :20] == np.array(frame)[:, :20]).all()
            assert (after != np.array(frame))[:, 28:].mean() > 0.9


def test_video_has_the_same_regions_in_all_frames() -> None:
    av = pytest.importorskip("av")
    with av.open("clip.mkv", "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for level in (60, 60, 60):
            grey = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        file.mux(stream.encode())
    draw_labels("guard.png", right=0)
    arguments = ["style=photo/wave", "regions=labels.png", "protect=guard.png", "quality=100"]
    assert infer("input=clip.mkv", "output=painted.mp4", *arguments) == 0
    with av.open("painted.mp4") as file:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in file.decode(video=0)]
    assert len(shown) == 3
    for frame in shown:
        assert np.abs(frame[:, :16] - 60).max() < 12
        assert np.abs(frame[:, 32:] - 60).mean() > 12


def test_huge_pictures_take_knobs_and_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvips")
    monkeypatch.setattr(huge, "MIN_PIXELS", 100)
    assert infer("input=photo.png", "strength=0", "output=same.png") == 0
    assert (pixels("same.png") == pixels("photo.png")).all()
    arguments = ["style=wave/photo", "regions=labels.png", "output=regions.png"]
    assert infer("input=photo.png", *arguments) == 0
    assert (pixels("regions.png")[:, 28:] == pixels("photo.png")[:, 28:]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["style=day"], r"No style 'day' in this checkpoint: it has night, wave"),
        (["style=night:0,wave"], r"Weights of styles are numbers above 0.*got 'night:0'"),
        (["strength=2"], r"strength must be from 0, the photo, to 1, the painting, got 2"),
        (["strength=half"], r"strength must be a number, got 'half'"),
        (["stroke=100"], r"stroke must be from 256 to 512 pixels for this network, got 100"),
        (["style=night/wave"], r"style=night/wave names 2 regions: regions= is missing"),
        (["regions=labels.png"], r"style= names 1 region, and the label picture has 2 grey levels"),
        (["style=night/wave", "regions=photo.png"], r"names 2 regions.*JPEG and soft brushes blur"),
        (["regions=nowhere"], r"Nothing at regions=nowhere: give a picture or a folder"),
        (["protect=nowhere"], r"Nothing at protect=nowhere: give a picture or a folder"),
        (["protect=empty"], r"protect=empty holds no pictures"),
        (["ckpt=single.safetensors", "style=wave"], r"No style 'wave' .*: it has night\."),
        (["ckpt=single.safetensors", "stroke=300"], r"strokes of one size, and stroke=300"),
        (["ckpt=holes.safetensors", "style=night"], r"style= is for style networks"),
        (["ckpt=holes.safetensors", "strength=0.5"], r"strength= is for style networks"),
        (["ckpt=holes.safetensors", "stroke=300"], r"stroke= is for style networks"),
        (["ckpt=holes.safetensors", "regions=labels.png"], r"regions= is for style networks"),
        (["ckpt=holes.safetensors", "protect=labels.png"], r"protect= is for style networks"),
    ],
)
def test_misuse_is_explained_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    sizes = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", sizes, ["night"])
    save_checkpoint(Path("single.safetensors"), TransformerNet(**sizes), header)
    header = Header("inpainting", "ContextEncoderPlus", {"width": 2})
    save_checkpoint(Path("holes.safetensors"), ContextEncoderPlus(width=2), header)
    assert infer("input=photo.png", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)
