"""Data sets of the hub: found, streamed, resumed, damaged; and what is said when they cannot be."""

import ast
import io
import itertools
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from hub_server import COMMIT, Hub, serve_hub
from impasto.data import HubPhotos, ImageDataModule
from impasto.data import remote as remote_module
from impasto.data import repository as repository_module
from impasto.data.batches import Sample
from impasto.data.remote import RemoteFile
from impasto.data.rowgroups import list_row_groups
from impasto.data.stream import deal

ROOT = Path(__file__).parents[1]
NAME = "someone/photos"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def picture(level: int) -> dict[str, object]:
    """A photo that says its number: as the level of red, and 256 times that of green."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (level % 256, level // 256, 0)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": f"{level}.png"}


def parquet(levels: range, group_size: int = 5, **columns: list[object]) -> bytes:
    table = pa.table({"image": [picture(level) for level in levels], **columns})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=group_size, compression="snappy")
    return file.getvalue()


def level(sample: Sample) -> int:
    return int(sample.image[0, 0, 0]) + 256 * int(sample.image[1, 0, 0])


def write_repository(folder: Path, num_files: int = 3, rows: int = 20) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"train-{number:05}-of-{num_files:05}.parquet" for number in range(num_files)]
    for number, path in enumerate(paths):
        path.write_bytes(parquet(range(number * rows, (number + 1) * rows)))
    return paths


def load(repository: object, **options: object) -> HubPhotos:
    options = {"image_size": 4, "batch_size": 2, "num_streams": 2, "buffer_size": 10, **options}
    return HubPhotos(str(repository), **options)


def levels(photos: HubPhotos, count: int, start: int = 0) -> list[int]:
    return [level(photos.train[position]) for position in range(start, start + count)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub on this machine, with a data set of 40 photos, and 10 to validate with."""
    with serve_hub() as server:
        server.files[NAME] = {
            "data/train-00000-of-00002-ab.parquet": parquet(range(20)),
            "data/train-00001-of-00002-cd.parquet": parquet(range(20, 40)),
            "data/val-00000-of-00001-ef.parquet": parquet(range(100, 110)),
        }
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        huggingface_hub.close_session()
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait next to nothing between attempts."""
    monkeypatch.setattr(remote_module, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr("impasto.data.rowgroups.QUICK_WAITS", (0.01, 0.01, 0.01))


# Order


def test_a_sample_depends_on_its_position_alone(tmp_path: Path) -> None:
    write_repository(tmp_path)
    first, second = (load(tmp_path, seed=3) for _ in range(2))
    there = levels(first, 90)
    assert levels(second, 40, start=50) == there[50:]
    assert levels(second, 90) == there
    assert levels(load(tmp_path, seed=4), 90) != there
    assert levels(pickle.loads(pickle.dumps(second)), 90) == there


@pytest.mark.parametrize("num_streams", [1, 2, 3])
def test_every_epoch_shows_every_photo_once_in_a_new_order(
    tmp_path: Path, num_streams: int
) -> None:
    write_repository(tmp_path)
    photos = load(tmp_path, num_streams=num_streams)
    held_out = {level(photos.val[number]) for number in range(len(photos.val))}
    count = 60 - len(held_out)
    streams = [photos.train._stream(number) for number in range(num_streams)]
    epochs = [
        [
            (str(row.group), row.number)
            for stream in streams
            for row in (
                next(stream.rows_from(epoch * stream.num_rows + place))
                for place in range(stream.num_rows)
            )
        ]
        for epoch in range(2)
    ]
    assert len(set(epochs[0])) == count
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]
    assert not held_out & set(levels(photos, 150))


def test_photos_far_apart_are_mixed_and_few_row_groups_are_needed(tmp_path: Path) -> None:
    tmp_path.joinpath("train.parquet").write_bytes(parquet(range(600), group_size=20))
    stream = load(tmp_path, num_streams=1, buffer_size=100).train._stream(0)
    groups, most = [], 0
    for place in range(stream.num_rows):
        groups.append(next(stream.rows_from(place)).group.number)
        most = max(most, int(((stream._first <= place) & (stream._last >= place)).sum()))
    changes = sum(a != b for a, b in itertools.pairwise(groups))
    assert changes > 0.7 * len(groups)
    assert most <= 100 / 20 + 2


def test_row_groups_are_dealt_evenly_and_to_one_stream_each(tmp_path: Path) -> None:
    groups = list_row_groups([str(path) for path in write_repository(tmp_path)], "image")
    shares = deal(groups, 5, seed=1)
    assert sorted(str(group) for share in shares for group in share) == sorted(map(str, groups))
    assert {sum(len(group.rows) for group in share) for share in shares} == {10, 15}


def test_a_few_photos_serve_more_workers_than_there_are_row_groups(tmp_path: Path) -> None:
    tmp_path.joinpath("train.parquet").write_bytes(parquet(range(4)))
    photos = load(tmp_path, num_streams=8)
    assert len(set(levels(photos, 6))) == 3
    assert len(photos.val) == 1


def test_a_single_photo_serves_both_sides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.joinpath("train.parquet").write_bytes(parquet(range(7, 8)))
    photos = load(tmp_path)
    assert levels(photos, 2) == [7, 7]
    assert level(photos.val[0]) == 7
    assert "one photo only" in caplog.text


def test_columns_of_plain_bytes_are_pictures_too(tmp_path: Path) -> None:
    table = pa.table({"jpg": [picture(number)["bytes"] for number in range(5)]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert len(set(levels(load(tmp_path, column="jpg"), 8))) == 4


# Resumption


class Positions(pl.LightningModule):
    """Notes the photos it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[int] = []

    def training_step(self, images, batch_idx):
        whole = (images[:, :, 0, 0] * 255).round().int()
        self.seen += (whole[:, 0] + 256 * whole[:, 1]).tolist()
        return (self.weight * images).sum()

    def validation_step(self, images, batch_idx):
        """Nothing to do."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def train(source: HubPhotos, num_workers: int, steps: int, checkpoint: Path) -> list[int]:
    """Train to a step of 30, going on from the checkpoint if there is one; then be gone."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=30,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Stop(steps, checkpoint)],
    )
    task = Positions()
    data = ImageDataModule(lambda: source, batch_size=2, num_workers=num_workers)
    resumed = checkpoint if checkpoint.exists() else None
    trainer.fit(task, data, ckpt_path=resumed, weights_only=True)
    return task.seen


class Stop(pl.Callback):
    """Saves and stops after a step, while workers have prepared what comes next."""

    def __init__(self, after: int, checkpoint: Path) -> None:
        self.after, self.checkpoint = after, checkpoint

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.after:
            trainer.save_checkpoint(self.checkpoint)
            trainer.should_stop = True


def test_a_streamed_run_stopped_five_times_sees_the_very_same_photos(
    hub: Hub, tmp_path: Path
) -> None:
    whole = levels(load(NAME), 60)
    stops = sorted(np.random.default_rng().choice(np.arange(1, 30), 5, replace=False).tolist())
    seen = []
    for step in [*stops, 30]:
        seen += train(load(NAME), 2, step, tmp_path / "resume.ckpt")
    assert seen == whole, stops


def test_the_photos_seen_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    write_repository(tmp_path / "photos")
    sources = [load(tmp_path / "photos", num_streams=3) for _ in range(3)]
    runs = [train(sources[workers], workers, 30, tmp_path / f"{workers}") for workers in (0, 2)]
    assert runs[0] == runs[1] == levels(sources[1], 60)


def test_every_worker_reads_its_own_share_and_nothing_twice(hub: Hub) -> None:
    hub.files[NAME] = {"data/train-00000-of-00001.parquet": parquet(range(400), 20)}
    source = load(NAME, buffer_size=40)
    hub.served.clear()
    data = ImageDataModule(lambda: source, batch_size=2, num_workers=2)
    data.trainer = pl.Trainer(
        accelerator="cpu", max_steps=150, logger=False, enable_checkpointing=False
    )
    assert sum(len(batch.levels) for batch in data.train_dataloader()) == 300
    assert hub.served.total() < len(hub.files[NAME]["data/train-00000-of-00001.parquet"])


# The hub


def test_streamed_and_downloaded_photos_are_the_same(hub: Hub) -> None:
    streamed = load(NAME, val_split="val", revision="main", max_val_images=6)
    downloaded = load(NAME, val_split="val", revision=COMMIT, max_val_images=6, streaming=False)
    assert levels(streamed, 70) == levels(downloaded, 70)
    assert set(levels(streamed, 100)) == set(range(40))
    held_out = [level(streamed.val[number]) for number in range(len(streamed.val))]
    assert len(held_out) == 6
    assert set(held_out) < set(range(100, 110))
    assert held_out == [level(downloaded.val[number]) for number in range(6)]


def test_what_was_downloaded_serves_without_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = levels(load(NAME, streaming=False, revision=COMMIT), 10)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    assert levels(load(NAME, streaming=False, revision=COMMIT), 10) == before
    with pytest.raises(ConnectionError, match="cannot be reached"):
        load(NAME, revision=COMMIT)


def test_a_busy_server_is_asked_again_and_reported(
    hub: Hub, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    there = levels(load(NAME), 20)
    file = "data/train-00000-of-00002-ab.parquet"
    hub.failures[file] = 2
    assert levels(load(NAME), 20) == there
    assert hub.refused[file] == 2
    assert caplog.text.count("the server answers 503") == 2
    hub.failures[file] = 4
    source = load(NAME)
    hub.failures[file] = 6  # this time while training
    assert levels(source, 20) == there
    assert hub.refused[file] == 6


def test_a_server_that_stays_away_ends_the_run_and_skips_nothing(hub: Hub, impatient: None) -> None:
    source = load(NAME)
    hub.failures = dict.fromkeys(hub.files[NAME], 10**6)
    with pytest.raises(ConnectionError, match="after 4 attempts"):
        levels(source, 20)


def test_files_vanished_from_the_server_are_skipped(hub: Hub) -> None:
    source = load(NAME)
    del hub.files[NAME]["data/train-00000-of-00002-ab.parquet"]
    samples = [source.train[position] for position in range(30)]
    assert {level(sample) for sample in samples} <= set(range(20, 40))
    assert "404" in next(sample.skipped for sample in samples if sample.skipped)[0].reason


def test_servers_that_cannot_serve_parts_are_refused(website) -> None:
    website.pages["/a.parquet"] = b"whole"
    with pytest.raises(OSError, match="does not serve parts"):
        RemoteFile(f"{website.url}/a.parquet")


def test_token_is_for_the_hub_alone(hub: Hub, website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    session, sent = huggingface_hub.get_session(), {}

    class Recorder:
        def get(self, url: str, headers: dict[str, str], timeout: float) -> object:
            sent[url] = {name.lower() for name in headers}
            return session.get(url, headers=headers, timeout=timeout)

    monkeypatch.setattr(huggingface_hub, "get_session", Recorder)
    ours = f"{hub.url}/datasets/{NAME}/resolve/main/data/val-00000-of-00001-ef.parquet"
    theirs = f"{website.url}/a.parquet"
    assert RemoteFile(ours).size() > 0
    with pytest.raises(OSError, match="404"):
        RemoteFile(theirs)
    assert "authorization" in sent[ours]
    assert "authorization" not in sent[theirs]


def test_folder_that_names_files_elsewhere_is_refused(website, tmp_path: Path) -> None:
    website.pages["/a.parquet"] = parquet(range(5))
    settings = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    for split in ("train", "val"):
        settings += f"  - split: {split}\n    path: {website.url}/a.parquet\n"
    (tmp_path / "README.md").write_text(f"{settings}---\n")
    with pytest.raises(ValueError, match="names a file that is not in it, http://127"):
        load(tmp_path)


def test_files_on_a_server_read_like_files(hub: Hub) -> None:
    content = np.random.default_rng(0).bytes(200_000)
    hub.files[NAME]["blob"] = content
    file = RemoteFile(f"{hub.url}/datasets/{NAME}/resolve/main/blob")
    assert file.size() == len(content)
    for start, size in ((0, 10), (150_000, 60_000), (100, 199_900), (199_999, 5), (200_000, 1)):
        file.seek(start)
        assert file.read(size) == content[start : start + size]
        assert file.tell() == min(start + size, len(content))


# Damage


def test_a_truncated_file_is_reported_and_the_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_repository(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    photos = load(tmp_path)
    assert str(paths[1]) in caplog.text
    assert not set(levels(photos, 100)) & set(range(20, 40))


def test_corrupt_row_groups_and_photos_are_replaced_the_same_way_every_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_repository(tmp_path)
    damaged = bytearray(paths[0].read_bytes())
    damaged[20:120] = os.urandom(100)  # within the first row group
    paths[0].write_bytes(damaged)
    table = pq.read_table(paths[1]).to_pydict()
    table["image"][3] = {"bytes": b"no picture", "path": None}
    table["image"][9] = {"bytes": None, "path": "elsewhere.jpg"}
    pq.write_table(pa.table(table), paths[1], row_group_size=5)
    photos = load(tmp_path)
    samples = [photos.train[position] for position in range(100)]
    assert [level(photos.train[position]) for position in reversed(range(100))] == [
        level(sample) for sample in reversed(samples)
    ]
    assert not {level(sample) for sample in samples} & {0, 1, 2, 3, 4, 23, 29}
    skipped = {file.path for sample in samples for file in sample.skipped}
    assert skipped == {
        f"{paths[0]}, row group 0",
        f"{paths[1]}, row group 0, row 3",
        f"{paths[1]}, row group 1, row 4",
    }
    data = ImageDataModule(lambda: photos, batch_size=2, num_workers=0)
    with caplog.at_level(logging.WARNING, "impasto"):
        for sample in samples:
            data._report(sample.skipped)
    assert caplog.text.count("Skipping") == data.num_skipped == 3


def test_a_corrupt_row_group_on_a_server_is_replaced(hub: Hub) -> None:
    file = "data/train-00000-of-00002-ab.parquet"
    content = bytearray(hub.files[NAME][file])
    content[20:120] = os.urandom(100)
    hub.files[NAME][file] = bytes(content)
    photos = load(NAME)
    samples = [photos.train[position] for position in range(60)]
    assert not {level(sample) for sample in samples} & set(range(5))
    assert any(file in skipped.path for sample in samples for skipped in sample.skipped)


def test_validation_borrows_from_training_where_all_held_out_photos_are_damaged(
    tmp_path: Path,
) -> None:
    images = [{"bytes": b"", "path": None}] + [picture(number) for number in range(1, 4)]
    pq.write_table(pa.table({"image": images}), tmp_path / "train.parquet")
    assert level(load(tmp_path, val_fraction=0.3).val[0]) in (1, 2, 3)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repository": "someone/else"}, "There is no data set someone/else"),
        ({"repository": "not a name"}, "neither on the hub nor as a folder"),
        ({"repository": "someone/secrets"}, "is gated.*hf auth login"),
        ({"revision": "v9"}, "no revision v9"),
        ({"subset": "large"}, "large"),
        ({"column": "label"}, "got label, which holds int64: there is image"),
        ({"column": "photo"}, "got photo, which is missing: there is image"),
        ({"train_split": "training"}, "among train, val, got training"),
        ({"val_split": "test"}, "among train, val, got test"),
        ({"crop_size": 300}, "crop_size"),
        ({"val_fraction": 1}, "val_fraction"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    hub: Hub, options: dict[str, object], message: str
) -> None:
    hub.gated.add("someone/secrets")
    for name, content in hub.files[NAME].items():
        count = pq.read_metadata(io.BytesIO(content)).num_rows
        hub.files[NAME][name] = parquet(range(count), label=list(range(count)))
    with pytest.raises(ValueError, match=message) as error:
        load(**{"repository": NAME, **options})
    assert "\n" not in str(error.value)


def test_other_files_than_parquet_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not made of Parquet files"):
        load(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        load(tmp_path)


def test_without_the_extra_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'impasto\[data\]'"):
        load(tmp_path)


def test_importing_data_leaves_heavy_libraries_alone() -> None:
    for path in (ROOT / "src" / "impasto" / "data").glob("*.py"):
        imports = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import)
        ]
        names = {alias.name.partition(".")[0] for node in imports for alias in node.names}
        assert not names & {"datasets", "huggingface_hub", "pyarrow"}, path


def test_a_hub_out_of_reach_is_not_waited_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="data=sample, or on data=folder"):
        load(NAME)
    monkeypatch.setattr(repository_module, "DEADLINE", 0.05)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(1))
    with pytest.raises(ConnectionError, match=r"no answer within 0\.05 seconds"):
        load(NAME)
    assert time.monotonic() - started < 10  # mostly other load


def test_training_on_coco_without_network_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "data=coco", "style=starry_night"],
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "data=sample" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("choice", ["coco", "places"])
def test_configs_read_from_the_hub(hub: Hub, choice: str) -> None:
    overrides = [f"+data={choice}", "+seed=0", "data.batch_size=3", f"data.repository={NAME}"]
    overrides += ["data.revision=main", "data.image_size=8", "data.crop_size=4"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose(overrides=[*overrides, "data.num_workers=2"])
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    assert data.source.train.batch_size == data.batch_size == 3
    assert len(data.source.train.shares) == data.num_workers == 2
    assert data.source.train[5].image.shape == (3, 4, 4)
    held_out = {level(data.source.val[number]) for number in range(len(data.source.val))}
    assert (held_out <= set(range(100, 110))) == (choice == "coco")
