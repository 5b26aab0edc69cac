"""Making shards: small, whole, once; and from any source."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import prepare_data
from impasto.data import PreparedPhotos
from impasto.data import preparation as preparation_module
from impasto.data.arrow import ArrowPhotos
from impasto.data.preparation import Shrinking, make_shards, plan_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine photos of noise, 90x60, and two files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(9):
        levels = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.jpg", quality=95)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "3.jpg").read_bytes()[:700])
    return folder


def prepare(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    options = ["--short-side", "32", "--shard-size", "4", "--workers", "0"]
    words = ["prepare_data.py", *map(str, arguments), *options]
    monkeypatch.setattr(sys, "argv", words)
    return prepare_data.main()


def pictures(shards: Path, split: str = "train") -> list[Image.Image]:
    photos = ArrowPhotos(sorted(shards.glob(f"{split}-*.arrow")), "image")
    return [Image.open(io.BytesIO(photo.read_bytes())) for photo in photos]


def test_photos_become_small_and_the_corrupt_are_listed(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shards = tmp_path / "shards"
    assert prepare(monkeypatch, shards, "data=folder", f"data.path={folder}") == 0
    printed = capsys.readouterr().out
    assert "9 photos in" in printed
    assert "3 shards made, 0 kept, 2 files skipped" in printed
    assert f"Skipped {folder / 'cut.jpg'}" in printed
    assert f"Skipped {folder / 'empty.jpg'}" in printed
    assert [picture.size for picture in pictures(shards)] == [(48, 32)] * 9
    manifest = json.loads((shards / "shards.json").read_text())
    listed = [file[0] for entry in manifest["shards"].values() for file in entry["skipped"]]
    assert listed == [str(folder / "cut.jpg"), str(folder / "empty.jpg")]
    assert len(PreparedPhotos(shards, 16).train.paths) == 8


def test_a_second_run_does_nothing(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    before = {path: path.stat().st_mtime_ns for path in arguments[0].iterdir()}
    monkeypatch.setattr(preparation_module, "_make_shard", None)
    assert prepare(monkeypatch, *arguments) == 0
    assert "0 shards made, 3 kept, 2 files skipped" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in arguments[0].iterdir()} == before


def test_missing_damaged_and_outdated_shards_are_made_again(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shards = tmp_path / "shards"
    arguments = (shards, "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    contents = {path: path.read_bytes() for path in shards.iterdir()}
    first, second, third = sorted(shards.glob("*.arrow"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    prepare(monkeypatch, *arguments)
    assert "2 shards made, 1 kept" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in shards.iterdir()} == contents
    (folder / "empty.jpg").unlink()  # in the last shard
    prepare(monkeypatch, *arguments)
    assert "1 shards made, 2 kept, 1 files skipped" in capsys.readouterr().out
    for path in folder.glob("[4-9].jpg"):
        path.unlink()
    prepare(monkeypatch, *arguments)
    assert len(list(shards.glob("*.arrow"))) == 2
    prepare(monkeypatch, *arguments, "--quality=50")
    assert "2 shards made, 0 kept" in capsys.readouterr().out.splitlines()[-2]
    assert third not in shards.iterdir()


def test_an_interrupted_run_goes_on_with_what_misses(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    make, made = preparation_module._make_shard, []

    def interrupted(*args):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(args)
        return make(*args)

    monkeypatch.setattr(preparation_module, "_make_shard", interrupted)
    assert prepare(monkeypatch, *arguments) == 130
    assert len(list(arguments[0].glob("*.arrow"))) == 1
    monkeypatch.setattr(preparation_module, "_make_shard", make)
    prepare(monkeypatch, *arguments)
    assert "2 shards made, 1 kept" in capsys.readouterr().out


def test_small_jpegs_stay_as_they_are_and_others_become_upright_rgb(
    tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (20, 16), (9, 9, 200)).save(folder / "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 16)).save(folder / "b.jpg", exif=exif)
    Image.new("L", (100, 70), 77).save(folder / "c.png")
    Image.new("RGBA", (70, 300), (10, 20, 30, 128)).save(folder / "d.png")
    prepare(monkeypatch, tmp_path / "shards", "data=folder", f"data.path={folder}")
    photos = ArrowPhotos([tmp_path / "shards" / "train-00000.arrow"], "image")
    assert photos[0].read_bytes() == (folder / "a.jpg").read_bytes()
    shown = pictures(tmp_path / "shards")
    assert [picture.size for picture in shown] == [(20, 16), (16, 20), (46, 32), (32, 137)]
    assert {picture.mode for picture in shown} == {"RGB"}


def test_parquet_files_keep_their_splits(tmp_path: Path, monkeypatch, capsys) -> None:
    def rows(count: int) -> pa.Table:
        files = [io.BytesIO() for _ in range(count)]
        for number, file in enumerate(files):
            Image.new("RGB", (80, 64), (number, 0, 0)).save(file, "PNG")
        return pa.table({"jpg": [file.getvalue() for file in files]})

    folder = tmp_path / "parquet"
    folder.mkdir()
    pq.write_table(rows(11), folder / "train-00000-of-00001.parquet", row_group_size=3)
    pq.write_table(rows(2), folder / "validation-00000-of-00001.parquet")
    shards = tmp_path / "shards"
    options = [
        "data=hub",
        f"data.repository={folder}",
        "data.column=jpg",
        "data.val_split=validation",
    ]
    assert prepare(monkeypatch, shards, *options) == 0
    assert "13 photos" in capsys.readouterr().out
    assert len(pictures(shards)) == 11
    assert len(pictures(shards, "val")) == 2
    prepare(monkeypatch, shards, *options)
    assert "0 shards made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=sample"], "Nothing to prepare"),
        (["data=folder"], "data.path must be given"),
        (["data=folder", "data.path=/nowhere"], "/nowhere"),
        (["data=nonsense"], "nonsense"),
        (["data.path=photos"], "Say which photos"),
        (["data=folder", "data.path=.", "--quality=0"], "quality"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, capsys, arguments, message) -> None:
    assert prepare(monkeypatch, tmp_path / "shards", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "shards").exists()


def test_folders_with_other_things_are_left_alone(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    assert prepare(monkeypatch, folder, "data=folder", f"data.path={folder}") == 2
    assert "holds other things" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 11


def test_processes_make_the_same_shards(folder: Path, tmp_path: Path) -> None:
    shrinking = Shrinking(32)
    plans = plan_paths(sorted(folder.iterdir()), shrinking, shard_size=6)
    for num_workers in (0, 2):
        make_shards(tmp_path / f"{num_workers}", plans, shrinking, num_workers, quiet=True)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "02"
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3
