"""infer.py: what it paints, keeps, refuses and says."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import painting
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.inference import Stylizer
from impasto.manifest import MANIFEST_NAME
from impasto.networks import TransformerNet
from impasto.options import Options, parse_options

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder to work in, with a checkpoint and a photo."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    arguments = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["Starry Night"])
    save_checkpoint(Path("night.safetensors"), TransformerNet(width=4, num_blocks=1), header)
    draw("photo.jpg")
    return tmp_path


def draw(path: str, width: int = 20, height: int = 12) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def infer(*arguments: str) -> int:
    return main(["ckpt=night.safetensors", "device=cpu", *arguments])


def files_in(folder: str) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    )


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_photo_is_painted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("input=photo.jpg", "output=new/painted.png", "precision=fp32") == 0
    with Image.open("new/painted.png") as picture:
        assert picture.size == (20, 12)
    captured = capsys.readouterr()
    expected = r"new/painted\.png: 1 painted, \d+ ms per picture \(cpu, float32\)\n"
    assert re.fullmatch(expected, captured.out)
    assert captured.err == ""


def test_painting_is_named_after_photo_and_style(here: Path) -> None:
    draw("album/photo.jpg")
    assert infer("input=album/photo.jpg") == 0
    assert files_in("album") == ["photo.jpg", "photo_Starry_Night.png"]


def test_style_name_cannot_leave_the_folder(here: Path) -> None:
    network = TransformerNet(width=4, num_blocks=1)
    arguments = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["../../../evil"])
    save_checkpoint(Path("evil.safetensors"), network, header)
    assert main(["ckpt=evil.safetensors", "input=photo.jpg"]) == 0
    assert "photo_evil.png" in files_in(".")


def test_photo_is_painted_into_a_folder(here: Path) -> None:
    Path("there").mkdir()
    assert infer("input=photo.jpg", "output=there") == 0
    assert infer("input=photo.jpg", "output=later/") == 0
    assert files_in("there") == files_in("later") == ["photo_Starry_Night.png"]


def test_single_painting_is_painted_anew(here: Path) -> None:
    Path("painted.png").write_bytes(b"former")
    assert infer("input=photo.jpg", "output=painted.png") == 0
    assert Path("painted.png").read_bytes() != b"former"


@pytest.mark.parametrize("name", ["photo #1.jpg", "[1], {a: b}.jpg", "${HOME}.jpg", "a=b.jpg", "7"])
def test_odd_file_names_are_taken_as_they_are(here: Path, name: str) -> None:
    Path(name).write_bytes(Path("photo.jpg").read_bytes())
    assert infer(f"input={name}", f"output={name}.png") == 0
    assert Path(f"{name}.png").is_file()


def test_folder_is_painted_with_its_folders(here: Path) -> None:
    for name in ("a.jpg", "trip/b.png", "trip/.hidden.png", "trip/far/c.gif"):
        draw(f"photos/{name}")
    Path("photos/notes.txt").touch()
    assert infer("input=photos/", "output=painted/") == 0
    assert files_in("painted") == ["a.jpg", "trip/b.png", "trip/far/c.png"]


def test_folder_has_a_default_output_beside_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("photos/a.jpg")
    assert infer("input=photos") == 0
    assert files_in("photos_Starry_Night") == ["a.jpg"]
    assert files_in("photos") == ["a.jpg"]
    monkeypatch.chdir("photos")
    assert main(["ckpt=../night.safetensors", "input=.", "format=webp"]) == 0
    assert files_in("../photos_Starry_Night") == ["a.jpg", "a.webp"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_format_is_chosen(here: Path, suffix: str) -> None:
    draw("photos/a.bmp")
    assert infer("input=photos", "output=painted", f"format={suffix}") == 0
    assert files_in("painted") == [f"a.{suffix}"]


def test_second_run_paints_only_what_is_missing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        draw(f"photos/{name}")
    infer("input=photos", "output=painted")
    Path("painted/a.jpg").write_bytes(b"kept")
    Path("painted/b.jpg").unlink()
    capsys.readouterr()

    assert infer("input=photos", "output=painted") == 0

    assert Path("painted/a.jpg").read_bytes() == b"kept"
    assert Path("painted/b.jpg").is_file()
    assert re.search(r"1 painted, .*; 2 were there already", capsys.readouterr().out)
    assert infer("input=photos", "output=painted", "overwrite=true") == 0
    assert Path("painted/a.jpg").read_bytes() != b"kept"


@pytest.mark.parametrize(
    "change",
    ["quality=90", "precision=fp32", "tile=off", "colors=photo", "ckpt=day.safetensors"],
)
def test_second_run_that_paints_otherwise_paints_again(
    here: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    draw("photos/a.jpg")
    Path("day.safetensors").write_bytes(Path("night.safetensors").read_bytes())
    infer("input=photos", "output=painted")
    assert infer("input=photos", "output=painted", "ckpt=day.safetensors", "workers=1") == 0
    assert "1 were there already" in capsys.readouterr().out  # the same network by another name
    torch.manual_seed(1)
    header = Header("stylization", "TransformerNet", {"width": 4, "num_blocks": 1}, ["Day"])
    save_checkpoint(Path("day.safetensors"), TransformerNet(width=4, num_blocks=1), header)
    assert infer("input=photos", "output=painted", change) == 0
    assert "1 painted" in capsys.readouterr().out


def test_files_of_unknown_origin_are_kept_and_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("photos/a.jpg")
    Path("painted").mkdir()
    Path("painted/a.jpg").write_bytes(b"of others")
    assert infer("input=photos", "output=painted") == 0
    expected = r"1 of these are not as \.impasto\.jsonl knows them, and stay"
    assert re.search(expected, capsys.readouterr().out)
    assert Path("painted/a.jpg").read_bytes() == b"of others"


def test_pictures_that_differ_in_suffix_stay_two(here: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg"):
        draw(f"photos/{name}")
    assert infer("input=photos", "output=painted", "format=png") == 0
    assert files_in("painted") == ["a.jpg.png", "a.png.png", "b.png"]


def test_two_pictures_never_become_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "a.png", "a.jpg.jpg"):
        draw(f"photos/{name}")
    assert infer("input=photos", "output=painted", "format=png") == 2
    assert "rename one" in one_line(capsys)


def test_output_inside_the_input_is_not_painted_again(here: Path) -> None:
    draw("photos/a.jpg")
    for _ in range(2):
        assert infer("input=photos", "output=photos/painted") == 0
    assert files_in("photos") == ["a.jpg", "painted/a.jpg"]


def test_broken_files_are_named_and_passed_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "c.jpg"):
        draw(f"photos/{name}")
    Path("photos/b.jpg").write_bytes(b"no picture")
    assert infer("input=photos", "output=painted") == 1
    assert files_in("painted") == ["a.jpg", "c.jpg"]
    captured = capsys.readouterr()
    assert "photos/b.jpg cannot be read" in captured.err
    assert captured.err.endswith("1 of 3 pictures failed.\n")
    assert "2 painted" in captured.out


def test_pixel_limit_is_passed_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("input=photo.jpg", "output=painted.png", "max_pixels=100") == 1
    assert "raise max_pixels" in capsys.readouterr().err
    assert not Path("painted.png").exists()


def test_quality_is_passed_on(here: Path) -> None:
    draw("photo.png", width=200, height=200)
    for quality in (10, 95):
        infer("input=photo.png", f"output={quality}.jpg", f"quality={quality}")
    assert Path("10.jpg").stat().st_size < Path("95.jpg").stat().st_size / 2


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("outptu=a.png", r"Unknown key 'outptu': known are ckpt, input, output, format"),
        ("photo.jpg", r"key=value, .*got 'photo\.jpg'"),
        ("output=", r"Nothing follows output="),
        ("quality=high", r"quality must be a whole number, got 'high'"),
        ("quality=101", r"quality must be from 1 to 100, got 101"),
        ("overwrite=maybe", r"overwrite must be true or false, got 'maybe'"),
        ("max_pixels=0", r"max_pixels must be at least 1, got 0"),
        ("workers=0", r"workers must be at least 1, got 0"),
        ("workers=all", r"workers must be a whole number, got 'all'"),
        ("codec=divx", r"codec must be one of auto, h264, .*, got 'divx'"),
        ("smooth=1", r"smooth must be from 0 to below 1, got 1\."),
        ("smooth=nan", r"smooth must be from 0 to below 1, got nan"),
        ("smooth=much", r"smooth must be a number, got 'much'"),
        ("tile=small", r"tile must be one of auto, exact, off, got 'small'"),
        ("colors=mine", r"colors must be one of painting, photo, matched, got 'mine'"),
        ("format=gif", r"format must be one of keep, png, jpg, webp, got 'gif'"),
        ("device=gpu", r"device must be one of auto, cpu, .*, got 'gpu'"),
        ("precision=int8", r"precision must be one of auto, fp32, bf16, fp16, got 'int8'"),
        ("input=nowhere.jpg", r"Nothing at input=nowhere\.jpg"),
        ("ckpt=nowhere.safetensors", r"No checkpoint at nowhere\.safetensors"),
        ("ckpt=photo.jpg", r"photo\.jpg is no safetensors file"),
        ("output=painted.gif", r"output=painted\.gif .*\.jpeg, \.jpg"),
        ("output=painted", r"output=painted cannot be saved"),
        ("output=photo.jpg", r"output=photo\.jpg is the input itself"),
        ("input=.", r"output=night\.safetensors is a file"),
    ],
)
def test_wrong_arguments_are_explained_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    more = ["output=night.safetensors"] if argument == "input=." else []
    assert infer("input=photo.jpg", argument, *more) == 2
    assert re.search(message, one_line(capsys))


@pytest.mark.parametrize("key", ["ckpt", "input"])
def test_missing_argument_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    given = {"ckpt": "night.safetensors", "input": "photo.jpg"}
    del given[key]
    assert main([f"{k}={value}" for k, value in given.items()]) == 2
    assert one_line(capsys).startswith(f"{key}= is missing")


def test_folder_is_never_painted_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("photos/a.jpg")
    assert infer("input=photos", "output=./photos/", "overwrite=true") == 2
    assert "is the input itself" in one_line(capsys)


def test_empty_folder_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    assert infer("input=photos") == 2
    assert "holds no pictures" in one_line(capsys)


def test_usage_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    usage = capsys.readouterr().err
    assert main(["--help"]) == main(["-h"]) == 0
    assert capsys.readouterr().out == 2 * usage
    for key in Options.__dataclass_fields__:
        assert f"\n  {key} " in usage


def test_values_get_their_types(here: Path) -> None:
    options = parse_options(["ckpt=1", "input=photo.jpg", "overwrite=true", "quality=7"])
    assert options == Options(ckpt="1", input="photo.jpg", overwrite=True, quality=7)


def test_full_disk_is_told_and_ends_the_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        draw(f"photos/{name}")

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(painting, "save_picture", no_space)
    assert infer("input=photos", "output=painted") == 1
    expected = "Cannot write to painted: No space left on device. 0 of 2 pictures are done;"
    assert expected in one_line(capsys)


def test_interrupted_run_tells_how_to_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        draw(f"photos/{name}")
    save, saved = painting.save_picture, []

    def save_once(picture: Image.Image, path: Path, quality: int) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        save(picture, path, quality)

    monkeypatch.setattr(painting, "save_picture", save_once)
    assert infer("input=photos", "output=painted") == 130
    expected = "Stopped. 1 of 3 pictures are done; the same command continues."
    assert expected in one_line(capsys)
    infer("input=photos", "output=painted", "overwrite=true")
    assert "the same command without overwrite=true continues." in one_line(capsys)


def test_picture_too_large_for_memory_is_passed_over(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stylizer, "__call__", no_memory)
    assert infer("input=photo.jpg", "output=painted.png") == 1
    assert "photo.jpg is too large for the memory" in capsys.readouterr().err


def test_script_returns_the_exit_code(here: Path) -> None:
    command = [sys.executable, ROOT / "infer.py", "ckpt=nowhere", "input=photo.jpg"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "No checkpoint at nowhere: a file ending in .safetensors is needed.\n"
