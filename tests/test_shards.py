"""Prepared shards: any photo of them at any time, the same one after a resumption."""

import io
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from impasto.data import FolderPhotos, PreparedPhotos
from impasto.data.arrow import ArrowPhotos, write_pictures
from impasto.data.batches import PositionSampler, TrainLoader, collate
from impasto.data.crops import CentreCrops
from impasto.data.decoding import read_crop
from impasto.data.preparation import Shrinking, make_shards, plan_paths

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(params=[90, None], ids=["jpeg", "raw"])
def shards(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three shards of 25 photos, each of a colour of its own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(25):
        picture = Image.new("RGB", (60, 40), (10 * number, 255 - 10 * number, 128))
        picture.save(folder / f"{number:02}.jpg", quality=95)
    make(folder, tmp_path / "shards", quality=request.param)
    return tmp_path / "shards"


def make(
    folder: Path,
    shards: Path,
    short_side: int = 32,
    shard_size: int = 10,
    quality: int | None = 90,
) -> None:
    shrinking = Shrinking(short_side, quality)
    plans = plan_paths(sorted(folder.iterdir()), shrinking, shard_size)
    make_shards(shards, plans, shrinking, num_workers=0, quiet=True)


def number_of(image: torch.Tensor) -> int:
    return round(float(image[0].float().mean()) / 10)


def test_a_sample_depends_on_seed_and_position_alone(shards: Path) -> None:
    first, second = (PreparedPhotos(shards, 16, seed=3) for _ in range(2))
    images = [first.train[position].image for position in range(40)]
    assert torch.equal(second.train[31].image, images[31])
    assert torch.equal(pickle.loads(pickle.dumps(second)).train[7].image, images[7])
    assert images[0].shape == (3, 16, 16)
    other = PreparedPhotos(shards, 16, seed=4)
    assert any(not torch.equal(other.train[p].image, images[p]) for p in range(5))


def test_every_epoch_shows_every_photo_once_and_no_held_out_one(shards: Path) -> None:
    photos = PreparedPhotos(shards, 16, val_fraction=0.2)
    epochs = [
        [number_of(photos.train[epoch * 20 + place].image) for place in range(20)]
        for epoch in range(2)
    ]
    held_out = {number_of(photos.val[index].image) for index in range(len(photos.val))}
    assert len(held_out) == 5
    assert max(held_out) - min(held_out) >= 20  # from all over
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(set(range(25)) - held_out)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("quality", [90, None])
def test_crops_of_shards_look_like_crops_of_the_photos(tmp_path: Path, quality: int | None) -> None:
    y, x = np.mgrid[:480, :640] / 40
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)
    (tmp_path / "photos").mkdir()
    Image.fromarray((127 + 100 * waves).astype(np.uint8)).save(
        tmp_path / "photos" / "waves.jpg", quality=95
    )
    make(tmp_path / "photos", tmp_path / "shards", short_side=72, quality=quality)
    prepared, original = (
        PreparedPhotos(tmp_path / "shards", 64),
        FolderPhotos(tmp_path / "photos", 64),
    )
    difference = prepared.val[0].image.float() - original.val[0].image.float()
    assert difference.abs().mean() < 4


def test_a_split_to_validate_with_is_used(shards: Path) -> None:
    manifest = json.loads((shards / "shards.json").read_text())
    manifest["shards"]["val-00000.arrow"] = manifest["shards"].pop("train-00002.arrow")
    (shards / "train-00002.arrow").rename(shards / "val-00000.arrow")
    (shards / "shards.json").write_text(json.dumps(manifest))
    photos = PreparedPhotos(shards, 16)
    assert {number_of(photos.val[index].image) for index in range(5)} == set(range(20, 25))
    assert {number_of(photos.train[index].image) for index in range(20)} == set(range(20))


def test_a_truncated_shard_is_reported_and_the_others_serve(
    shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard = shards / "train-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:-3000])
    photos = PreparedPhotos(shards, 16)
    assert str(shard) in caplog.text
    assert len(photos.train.paths) == 14


def test_corrupt_lengths_and_photos_are_survived(
    shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard = shards / "train-00000.arrow"
    with pa.ipc.open_stream(shard.read_bytes()) as stream:
        offsets = next(iter(stream)).column(0).field("bytes").buffers()[1].to_pybytes()
    content = shard.read_bytes()
    place = content.index(offsets)
    shard.write_bytes(content[: place + 8] + b"\xff\xff\xff\x7f" + content[place + 12 :])
    second = (shards / "train-00001.arrow").read_bytes()
    start = second.index(ArrowPhotos([shards / "train-00001.arrow"], "image")[0].read_bytes())
    (shards / "train-00001.arrow").write_bytes(second[:start] + bytes(3) + second[start + 3 :])
    photos = PreparedPhotos(shards, 16, max_val_images=1)
    assert str(shard) in caplog.text
    samples = [photos.train[position] for position in range(40)]
    assert {number_of(sample.image) for sample in samples} <= set(range(11, 25))
    skipped = {file.path for sample in samples for file in sample.skipped}
    assert skipped <= {f"{shards / 'train-00001.arrow'}, row 0"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"P6\n4 3\n255\n" + bytes(35), "4 x 3 raw pixels are 36 bytes, got 35"),
        (b"P6\n4 3\n255\n" + bytes(37), "4 x 3 raw pixels are 36 bytes, got 37"),
        (b"P6\n99999999 99999999\n255\n" + bytes(36), "raw pixels are 29999999400000003 bytes"),
        (b"P6\n4 3\n255\n", "4 x 3 raw pixels are 36 bytes, got 0"),
        (b"P6\n0 3\n255\n", ""),
        (b"P6\n-4 3\n255\n" + bytes(36), ""),
        (b"P6\n4 3\n", ""),
        (b"", ""),
        (None, "no picture"),
    ],
)
def test_raw_photos_that_lie_about_their_size_are_passed_over_and_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    good = b"P6\n4 3\n255\n" + bytes([70]) * 36
    rows = [{"bytes": content, "path": None}, {"bytes": good, "path": None}]
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, (table := pa.table({"image": rows})).schema) as stream,
    ):
        stream.write_table(table)
    photos = CentreCrops(ArrowPhotos([tmp_path / "a.arrow"], "image"), 3)
    image, (skipped,), _ = photos[0]
    assert image.eq(70).all()
    assert skipped.path == f"{tmp_path / 'a.arrow'}, row 0"
    assert reason in skipped.reason


def test_raw_photos_are_the_very_pixels(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(levels).save(tmp_path / "photos" / "noise.png")
    make(tmp_path / "photos", tmp_path / "shards", short_side=20, quality=None)
    (photo,) = ArrowPhotos([tmp_path / "shards" / "train-00000.arrow"], "image")
    crop = read_crop(photo, lambda width, height: (width - 9, height - 7, 7), 7)
    assert torch.equal(crop.permute(1, 2, 0), torch.from_numpy(levels[13:, 24:31]))


def test_of_raw_photos_only_the_square_is_copied(tmp_path: Path) -> None:
    content = b"P6\n3000 2000\n255\n" + bytes(3 * 3000 * 2000)
    write_pictures(tmp_path / "a.arrow", "image", [(content, "")])
    photos = ArrowPhotos([tmp_path / "a.arrow"], "image")
    tracemalloc.start()
    try:
        read_crop(photos[0], lambda width, height: (100, 200, 64), 64)
        assert tracemalloc.get_traced_memory()[1] < 200_000  # of 18 million
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [0, 3])
def test_shards_are_dealt_over_ranks_and_workers(
    shards: Path, num_workers: int, start: int
) -> None:
    photos = PreparedPhotos(shards, 16)
    alone = [photos.train[position].image for position in range(24)]
    for rank in range(2):
        sampler = PositionSampler(6, 2, lambda: start, rank, num_processes=2)
        loader = TrainLoader(
            photos.train, sampler, batch_size=2, num_workers=num_workers, collate_fn=collate
        )
        levels = [level for batch in loader for level in torch.from_numpy(batch.levels)]
        positions = [4 * step + 2 * rank + place for step in range(start, 6) for place in range(2)]
        expected = torch.stack([alone[position].permute(1, 2, 0) for position in positions])
        assert torch.equal(torch.stack(levels), expected)


def test_other_libraries_open_shards(shards: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_file(str(shards / "train-00000.arrow"))
    assert rows[3]["image"].size == (48, 32)


def test_files_that_datasets_keeps_are_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (40, 0, 0)).save(file, "PNG")
    table = pa.table({"picture": [{"bytes": file.getvalue(), "path": None}] * 3})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as stream,
    ):
        stream.write_table(table)
    photos = ArrowPhotos([tmp_path / "a.arrow"], "picture")
    assert [photo.read_bytes() for photo in photos] == [file.getvalue()] * 3


def test_missing_and_empty_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"scripts/prepare_data\.py"):
        PreparedPhotos(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    make(tmp_path / "photos", tmp_path / "shards")
    with pytest.raises(ValueError, match="hold no photos"):
        PreparedPhotos(tmp_path / "shards")


def test_unfinished_shards_serve_with_a_warning(
    shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = json.loads((shards / "shards.json").read_text())
    del manifest["shards"]["train-00001.arrow"]
    (shards / "shards.json").write_text(json.dumps(manifest))
    assert len(PreparedPhotos(shards, 16).train.paths) == 14
    assert "Of 3 shards 2 are in" in caplog.text


def test_the_config_reads_shards(shards: Path) -> None:
    overrides = ["+data=prepared", "+seed=5", f"data.path={shards}", "data.image_size=24"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(overrides=[*overrides, "data.crop_size=12"])
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    assert data.source.train[0].image.shape == (3, 12, 12)
