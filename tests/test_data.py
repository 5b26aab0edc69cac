"""Photos of a folder on their way into training: split, crops, damaged files, resumption."""

import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch.utils.data import Dataset, Subset

from impasto.data import FolderPhotos, ImageDataModule, decoding
from impasto.data.batches import Sample, Skipped, collate
from impasto.data.crops import crop_randomly
from impasto.data.folder import split

CONFIGS = Path(__file__).parents[1] / "configs"

pytestmark = [  # advice of Lightning's that does not fit tests
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),
]


def write_photos(folder: Path, count: int, size: tuple[int, int] = (24, 20)) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / "trips" / f"{number}.png" for number in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return paths


def write_bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 50000 x 50000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)


def val_image(folder: Path, size: int = 16) -> torch.Tensor:
    """The only photo of a folder, cut in the middle."""
    return FolderPhotos(folder, size).val[0].image


# Crops


def test_crops_are_bytes_of_the_wanted_size(tmp_path):
    write_photos(tmp_path, 4)
    photos = FolderPhotos(tmp_path, image_size=32)
    for sample in (photos.train[0], photos.train[123], photos.val[0]):
        assert sample.image.dtype == torch.uint8
        assert sample.image.shape == (3, 32, 32)
        assert not sample.skipped


def test_a_sample_depends_on_seed_and_position_alone(tmp_path):
    write_photos(tmp_path, 5)
    first, second = (FolderPhotos(tmp_path, 16, seed=1).train for _ in range(2))
    second[40]
    assert torch.equal(first[13].image, second[13].image)
    other = FolderPhotos(tmp_path, 16, seed=2).train
    assert any(not torch.equal(first[p].image, other[p].image) for p in range(4))


def test_every_epoch_shows_every_photo_once_in_a_new_order(tmp_path):
    for number in range(8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    photos = FolderPhotos(tmp_path, 8).train
    count = len(photos.paths)
    epochs = [
        [int(photos[epoch * count + place].image[0, 0, 0]) for place in range(count)]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_crops_vary_in_place_size_and_direction(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    photos = FolderPhotos(tmp_path, 32, min_scale=0.5, val_fraction=0.5).train
    crops = torch.stack([photos[position].image[0].float() for position in range(60)])
    rises = crops[:, 16, -1] - crops[:, 16, 0]
    assert 15 < (rises > 0).sum() < 45
    assert rises.abs().min() > 110  # half of the photo
    assert rises.abs().min() < 160
    assert rises.abs().max() > 220


def test_small_crops_show_a_part_at_the_same_scale(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    photos = FolderPhotos(tmp_path, 32, crop_size=8, min_scale=1, val_fraction=0.5)
    crops = torch.stack([photos.train[position].image[0].float() for position in range(20)])
    assert crops.shape == (20, 8, 8)
    rises = (crops[:, 4, -1] - crops[:, 4, 0]).abs()
    assert (rises - 255 * 7 / 32).abs().max() < 6
    assert photos.val[0].image.shape == (3, 32, 32)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (300, 2), (640, 480)])
def test_a_photo_of_any_size_gives_a_crop(tmp_path, size):
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "a.jpg", quality=95)
    image = FolderPhotos(tmp_path, 48).train[0].image
    assert image.shape == (3, 48, 48)
    assert (image.float().mean((1, 2)) - torch.tensor([10, 200, 30])).abs().max() < 4


def test_large_jpegs_come_out_like_whole_decoding(tmp_path):
    y, x = np.mgrid[:1200, :1600] / 200
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)
    picture = Image.fromarray((127 + 100 * waves).astype(np.uint8))
    picture.save(tmp_path / "large.jpg", quality=95)
    expected = picture.crop((200, 0, 1400, 1200)).resize((64, 64), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(expected)).permute(2, 0, 1)
    difference = val_image(tmp_path, 64).float() - expected
    assert difference.abs().mean() < 1.5


def test_grey_transparent_and_deep_pictures_become_rgb(tmp_path):
    levels = np.full((20, 20), 40_000, np.uint16)
    pictures = {
        "deep.png": (Image.fromarray(levels), (156, 156, 156)),
        "grey.png": (Image.new("L", (20, 20), 77), (77, 77, 77)),
        "cmyk.jpg": (Image.new("CMYK", (20, 20), (0, 255, 255, 0)), (254, 0, 0)),
        "palette.gif": (Image.new("RGB", (20, 20), (255, 0, 0)).quantize(4), (255, 0, 0)),
        "clear.png": (Image.new("RGBA", (20, 20), (10, 20, 30, 128)), (10, 20, 30)),
    }
    for name, (picture, colour) in pictures.items():
        folder = tmp_path / Path(name).stem
        folder.mkdir()
        picture.save(folder / name)
        mean = val_image(folder).float().mean((1, 2))
        assert (mean - torch.tensor(colour)).abs().max() < 3, name


def test_photos_are_turned_upright(tmp_path):
    picture = Image.new("RGB", (32, 32))
    picture.paste((255, 255, 255), (0, 0, 16, 32))  # left half as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: left becomes top
    picture.save(tmp_path / "turned.jpg", exif=exif)
    image = val_image(tmp_path, 32).float()
    assert image[:, 2:12].mean() > 250
    assert image[:, 20:30].mean() < 5


# Split


def test_adding_photos_moves_none_to_the_other_side():
    folder = Path("photos")
    paths = [folder / f"{number:04}.jpg" for number in range(1000)]
    train, val = split(paths[::2], folder, 0.05)
    more_train, more_val = split(paths, folder, 0.05)
    assert set(val) <= set(more_val)
    assert set(train) <= set(more_train)
    assert 25 < len(more_val) < 80
    assert sorted(more_train + more_val) == paths


def test_the_split_does_not_depend_on_where_the_folder_lies():
    names = [f"sub/{number}.jpg" for number in range(200)]
    splits = [
        split([folder / name for name in names], folder, 0.1)[1]
        for folder in (Path("a"), Path("/b/c"))
    ]
    assert [p.name for p in splits[0]] == [p.name for p in splits[1]]


def test_no_more_photos_validate_than_asked_for(tmp_path):
    write_photos(tmp_path, 30, (2, 2))
    photos = FolderPhotos(tmp_path, 4, val_fraction=0.5, max_val_images=3)
    assert len(photos.val) == 3
    assert len(photos.train.paths) < 25


@pytest.mark.parametrize("count", [2, 3, 5])
def test_small_folders_have_photos_on_both_sides(tmp_path, count):
    write_photos(tmp_path, count)
    photos = FolderPhotos(tmp_path, 8, val_fraction=0.001)
    assert len(photos.val) == 1
    assert len(photos.train.paths) == count - 1


def test_a_single_photo_serves_both_sides_with_a_warning(tmp_path, caplog):
    write_photos(tmp_path, 1)
    photos = FolderPhotos(tmp_path, 8)
    assert photos.train.paths == photos.val.paths
    assert "one photo only" in caplog.text


# Errors


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FolderPhotos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="No photos in"):
        FolderPhotos(tmp_path)
    file = tmp_path / "a.txt"
    file.write_text("no folder")
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        FolderPhotos(file)


@pytest.mark.parametrize(
    "wrong", [{"min_scale": 0}, {"val_fraction": 1}, {"image_size": 0}, {"crop_size": 300}]
)
def test_values_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FolderPhotos(tmp_path, **wrong)


def test_damaged_files_are_replaced_the_same_way_every_time(tmp_path):
    paths = write_photos(tmp_path, 6)
    for path in paths[:2]:
        path.write_bytes(path.read_bytes()[:60])
    write_bomb(paths[2])
    train = FolderPhotos(tmp_path, 8).train
    samples = [train[position] for position in range(10)]
    backwards = [train[position] for position in reversed(range(10))][::-1]
    assert all(
        torch.equal(a.image, b.image) and a.skipped == b.skipped
        for a, b in zip(samples, backwards, strict=True)
    )
    skipped = {file.path for sample in samples for file in sample.skipped}
    assert skipped == {str(path) for path in paths[:3] if path in train.paths}


def test_a_folder_of_damaged_files_is_refused(tmp_path):
    for path in write_photos(tmp_path, 3):
        path.write_bytes(b"not a picture")
    data = ImageDataModule(FolderPhotos, path=tmp_path)
    with pytest.raises(ValueError, match="None of the 2 pictures can be read"):
        data.setup("fit")


def test_validation_borrows_from_training_where_all_held_out_photos_are_damaged(tmp_path):
    write_photos(tmp_path, 4)
    photos = FolderPhotos(tmp_path, 8)
    photos.val.paths[0].write_bytes(b"")
    assert photos.val[0].skipped[0].path == str(photos.val.paths[0])


# Batches and the module


def test_batches_are_channels_last_and_gather_skipped_files():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    bad = Skipped("a.jpg", "truncated")
    batch = collate([Sample(images[0], (bad,)), Sample(images[1])])
    assert torch.equal(torch.from_numpy(batch.levels).permute(0, 3, 1, 2), images)
    assert batch.skipped == (bad,)


class Numbers(Dataset[Sample]):
    """Images that hold their own position."""

    def __getitem__(self, position: int) -> Sample:
        return Sample(torch.full((3, 1, 1), position, dtype=torch.uint8))


class NumberSource:
    def __init__(self) -> None:
        self.train, self.val = Numbers(), Subset(Numbers(), range(3))


class Recorder(pl.LightningModule):
    """Notes what it sees, and stops at a step if told to, by an order or by an error."""

    def __init__(self, stop_after: int | None = None, fail_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stop_after, self.fail_at = stop_after, fail_at
        self.seen: list[int] = []
        self.indices: list[int] = []
        self.validated_at: list[int] = []

    def training_step(self, images, batch_idx):
        if batch_idx == self.fail_at:
            raise RuntimeError("power cut")
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert self.global_step == batch_idx
        self.seen += (images[:, 0, 0, 0] * 255).round().int().tolist()
        self.indices.append(batch_idx)
        if batch_idx + 1 == self.stop_after:
            self.trainer.should_stop = True
        return (self.weight * images).sum()

    def validation_step(self, images, batch_idx):
        if batch_idx == 0:
            self.validated_at.append(self.global_step)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(
    recorder: Recorder, folder: Path, num_workers: int, max_steps: int = 9, **saving: object
) -> pl.Trainer:
    """Train as configs/trainer does, going on from the folder's checkpoint if there is one."""
    saving = saving or {"save_on_train_epoch_end": False}
    checkpoint = folder / "resume.ckpt"
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(folder, "resume", enable_version_counter=False, **saving),
        ],
    )
    data = ImageDataModule(NumberSource, batch_size=2, num_workers=num_workers)
    resumed = checkpoint if checkpoint.exists() else None
    trainer.fit(recorder, data, ckpt_path=resumed, weights_only=True)
    return trainer


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop_after", [3, 4, 6])
def test_a_resumed_run_goes_on_with_the_very_next_sample(tmp_path, num_workers, stop_after):
    first, second = Recorder(stop_after=stop_after), Recorder()
    assert fit(first, tmp_path, num_workers).global_step == stop_after
    trainer = fit(second, tmp_path, num_workers)
    assert first.seen == list(range(2 * stop_after))
    assert second.seen == list(range(2 * stop_after, 18))
    assert second.indices == list(range(stop_after, 9))
    assert trainer.global_step == 9
    assert trainer.num_training_batches == 9
    assert first.validated_at + second.validated_at == sorted({stop_after, 4, 8})


def test_a_run_saved_within_a_step_goes_on_with_the_very_next_sample(tmp_path):
    saving = {"every_n_train_steps": 3, "save_top_k": 1}
    first, second = Recorder(fail_at=5), Recorder()
    with pytest.raises(RuntimeError, match="power cut"):
        fit(first, tmp_path, 0, **saving)
    assert fit(second, tmp_path, 0, **saving).global_step == 9
    assert second.seen == list(range(6, 18))  # saved after step 3, lost steps 4 and 5


def test_a_finished_run_can_be_made_longer(tmp_path):
    first, second = Recorder(stop_after=9), Recorder()
    fit(first, tmp_path, 0)
    assert fit(second, tmp_path, 0, max_steps=14).global_step == 14
    assert second.seen == list(range(18, 28))


def test_the_progress_bar_knows_the_whole_run(tmp_path):
    class Totals(Callback):
        batches: float = 0

        def on_train_start(self, trainer, pl_module):
            self.batches = trainer.num_training_batches

    totals = Totals()
    write_photos(tmp_path, 3, (4, 4))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=20,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[totals],
    )
    recorder = Recorder()
    trainer.fit(recorder, ImageDataModule(FolderPhotos, 4, 0, path=tmp_path, image_size=1))
    assert totals.batches == 20
    assert len(recorder.seen) == 80  # three photos last for any number of steps


def test_each_damaged_file_is_reported_once(tmp_path, caplog):
    paths = write_photos(tmp_path, 4)
    trained = FolderPhotos(tmp_path, 8).train.paths
    trained[0].write_bytes(paths[0].read_bytes()[:70])
    data = ImageDataModule(FolderPhotos, 4, 2, path=tmp_path, image_size=8)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=6,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with caplog.at_level(logging.WARNING, logger="impasto"):
        trainer.fit(Recorder(), data)
    reports = [r.getMessage() for r in caplog.records if "Skipping" in r.getMessage()]
    assert len(reports) == data.num_skipped == 1
    assert str(trained[0]) in reports[0]


def test_loading_leaves_the_chance_of_training_alone():
    data = ImageDataModule(NumberSource, batch_size=2, num_workers=0)
    state = torch.get_rng_state()
    list(data.val_dataloader())
    assert torch.equal(state, torch.get_rng_state())


def test_wrong_loading_arguments_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        ImageDataModule(NumberSource, batch_size=0)
    with pytest.raises(ValueError, match="num_workers"):
        ImageDataModule(NumberSource, num_workers=-1)


# Configs


@pytest.mark.parametrize("name", ["folder", "sample"])
def test_data_configs_compose_and_build(tmp_path, name):
    write_photos(tmp_path, 3)
    overrides = [f"+data={name}", "+seed=5", "data.image_size=24", "data.crop_size=12"]
    overrides.append("data.batch_size=3")
    if name == "folder":
        overrides.append(f"data.path={tmp_path}")
    with initialize_config_dir(str(CONFIGS), version_base=None):
        cfg = compose(overrides=overrides)
    OmegaConf.resolve(cfg)
    data = instantiate(cfg.data, _convert_="all")
    assert data.batch_size == 3
    assert data.source.train[0].image.shape == (3, 12, 12)
    assert data.num_workers >= 1


def test_crops_reach_the_last_pixel(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(9, dtype=np.uint8), (9, 1))
    Image.fromarray(np.stack([ramp] * 3, -1)).save(tmp_path / "a.png")
    highest = {
        int(crop_randomly([tmp_path / "a.png"], 8, (8 / 9, 8 / 9), (0, 1, n)).image.max())
        for n in range(20)
    }
    assert highest == {7, 8}


def test_large_jpegs_are_reduced_while_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1600, 1200)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(decoding, "MAX_DECODED_PIXELS", 400 * 300)
    crop = decoding.read_crop(tmp_path / "a.jpg", lambda width, height: (0, 0, height), 128)
    assert crop.shape == (3, 128, 128)


def test_pipe_among_photos_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "b.png")
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    (skipped,) = crop_randomly(photos, 8, (1, 1), (0, 1, 0)).skipped
    assert skipped == (str(photos[0]), "it is no file")
