"""Making shards: small, whole, once; and from any source."""

import errno
import hashlib
import io
import json
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import prepare_data
from impasto.data import PreparedPhotos
from impasto.data import arrow as arrow_module
from impasto.data import preparation as preparation_module
from impasto.data.arrow import ArrowPhotos, write_pictures
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


def test_raw_photos_are_as_small_and_their_size_is_said_before_and_after(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shards = tmp_path / "not" / "yet" / "there"
    assert prepare(monkeypatch, shards, "data=folder", f"data.path={folder}", "--raw") == 0
    before, after = capsys.readouterr().out.splitlines()[:2]
    assert "11 photos of 32 px as raw pixels take 45.4kB in all" in before  # 11 x 43 x 32 x 3
    assert "B are free" in before
    num_bytes = sum(path.stat().st_size for path in shards.glob("*.arrow"))
    assert 9 * 48 * 32 * 3 < num_bytes < 50_000
    assert f"9 photos in {shards}, {num_bytes / 1000:.1f}kB: 3 shards made" in after
    shown = pictures(shards)
    assert [picture.size for picture in shown] == [(48, 32)] * 9
    assert {picture.format for picture in shown} == {"PPM"}


def test_shards_are_of_jpegs_or_raw_as_asked_for_last(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    jpegs = {path: path.read_bytes() for path in arguments[0].iterdir()}
    capsys.readouterr()
    prepare(monkeypatch, *arguments, "--raw")
    assert "3 shards made, 0 kept" in capsys.readouterr().out
    prepare(monkeypatch, *arguments, "--raw")
    assert "0 shards made, 3 kept" in capsys.readouterr().out
    prepare(monkeypatch, *arguments)
    assert {path: path.read_bytes() for path in arguments[0].iterdir()} == jpegs
    with pytest.raises(SystemExit):
        prepare(monkeypatch, *arguments, "--raw", "--quality=80")


def test_fingerprints_of_jpegs_stay_what_they_were() -> None:
    (plan,) = plan_paths([Path("/nowhere/photo.jpg")], Shrinking())
    content = b"Shrinking(short_side=256, quality=90)/nowhere/photo.jpg unreadable\0"
    assert plan.fingerprint == hashlib.sha256(content).hexdigest()


def test_a_full_disk_gives_one_line_and_leaves_no_half_shard(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    def fill(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}", "--raw")
    prepare(monkeypatch, *arguments)
    first, *_ = sorted(arguments[0].glob("*.arrow"))
    first.unlink()
    capsys.readouterr()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fill)
        full.setattr(preparation_module, "_write_manifest", lambda *_: None)
        assert prepare(monkeypatch, *arguments) == 2
    *progress, line = capsys.readouterr().err.splitlines()
    assert line == "prepare_data.py: [Errno 28] No space left on device"
    assert all(not shown or "photo/s" in shown for shown in progress)
    assert len(list(arguments[0].iterdir())) == 3  # two shards and the manifest
    prepare(monkeypatch, *arguments)
    assert "1 shards made, 2 kept" in capsys.readouterr().out


def test_what_a_killed_process_left_is_removed(folder: Path, tmp_path: Path, monkeypatch) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")

    def interrupt(file: BinaryIO, *_: object) -> None:
        written.append(Path(file.name))
        raise KeyboardInterrupt

    written: list[Path] = []
    with monkeypatch.context() as interrupted:
        interrupted.setattr(arrow_module, "_write_stream", interrupt)
        assert prepare(monkeypatch, *arguments) == 130
    assert not written[0].exists()
    written[0].touch()  # as if the process had been killed
    prepare(monkeypatch, *arguments)
    assert not written[0].exists()
    assert len(list(arguments[0].iterdir())) == 4


def test_a_name_that_is_no_text_is_told_with_its_bytes(folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (folder / "0.jpg").rename(folder / name)
    plans = plan_paths([folder / name], Shrinking(32), 10)
    assert make_shards(tmp_path / "shards", plans, Shrinking(32), 0, quiet=True).num_photos == 1
    (shard,) = (tmp_path / "shards").glob("*.arrow")
    with pa.ipc.open_stream(shard) as stream:
        (row,) = stream.read_all().to_pylist()
    assert row["image"]["path"].endswith("caf\\xe9.jpg")


def test_a_writer_holds_one_batch_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(arrow_module, "BYTES_PER_BATCH", 400_000)
    contents = ((bytes([number]) * 150_000, str(number)) for number in range(100))
    tracemalloc.start()
    try:
        write_pictures(tmp_path / "a.arrow", "image", contents)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # of 15 million
    finally:
        tracemalloc.stop()
    with pa.ipc.open_stream((tmp_path / "a.arrow").read_bytes()) as stream:
        assert [len(batch) for batch in stream] == [3] * 33 + [1]
    photos = ArrowPhotos([tmp_path / "a.arrow"], "image")
    assert [photo.read_bytes()[0] for photo in photos] == list(range(100))


def test_a_second_run_does_nothing(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    before = {path: path.stat().st_mtime_ns for path in arguments[0].iterdir()}
    monkeypatch.setattr(preparation_module, "_make_shard", None)
    assert prepare(monkeypatch, *arguments) == 0
    assert "0 shards made, 3 kept, 2 files skipped" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in arguments[0].iterdir()} == before
    monkeypatch.chdir(folder.parent)
    for spelled in (folder.name, f"{folder.name}/../{folder.name}/."):
        prepare(monkeypatch, tmp_path / "shards", "data=folder", f"data.path={spelled}")
        assert "0 shards made, 3 kept" in capsys.readouterr().out


DAMAGED = {
    "cut off": "[",
    "no shards": "[]",
    "shards without a name": '{"planned": 3, "shards": [1]}',
    "a letter each": '{"planned": 3, "shards": "abc"}',
    "no number": '{"planned": Infinity, "shards": {}}',
    "no plan": '{"shards": {"a": {}}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_damaged_list_of_shards_is_made_again(
    folder: Path, tmp_path: Path, monkeypatch, capsys, damaged: str
) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    (tmp_path / "shards" / "shards.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"shards\.json is damaged: scripts/prepare_data\.py"):
        PreparedPhotos(tmp_path / "shards")
    capsys.readouterr()
    prepare(monkeypatch, *arguments)
    assert "3 shards made, 0 kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: {},
        list,
        lambda entry: {**entry, "photos": "4"},
        lambda entry: {**entry, "skipped": 1},
        lambda entry: {**entry, "skipped": [["a.png"]]},
    ],
    ids=["empty", "list", "photos", "skipped", "no reason"],
)
def test_damaged_entry_is_not_believed(
    folder: Path, tmp_path: Path, monkeypatch, capsys, damage: Callable[[dict], object]
) -> None:
    arguments = (tmp_path / "shards", "data=folder", f"data.path={folder}")
    prepare(monkeypatch, *arguments)
    manifest = tmp_path / "shards" / "shards.json"
    content = json.loads(manifest.read_text())
    shards = content["shards"]
    shards["train-00001.arrow"] = damage(shards["train-00001.arrow"])
    manifest.write_text(json.dumps(content))
    capsys.readouterr()
    assert prepare(monkeypatch, *arguments) == 0
    assert "3 shards made, 0 kept" in capsys.readouterr().out


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
    prepare(monkeypatch, tmp_path / "raw", "data=folder", f"data.path={folder}", "--raw")
    bare = pictures(tmp_path / "raw")
    assert [picture.size for picture in bare] == [picture.size for picture in shown]
    assert {picture.mode for picture in bare} == {"RGB"}
    with Image.open(folder / "a.jpg") as decoded:
        assert bare[0].tobytes() == decoded.tobytes()


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
        (["data=folder"], " data.path must be given, as in data.path="),
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


@pytest.mark.parametrize("quality", [90, None])
def test_processes_make_the_same_shards(folder: Path, tmp_path: Path, quality: int | None) -> None:
    shrinking = Shrinking(32, quality)
    plans = plan_paths(sorted(folder.iterdir()), shrinking, shard_size=6)
    for num_workers in (0, 2):
        make_shards(tmp_path / f"{num_workers}", plans, shrinking, num_workers, quiet=True)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "02"
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3
