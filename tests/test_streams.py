"""Streams of several processes and workers: who sees what, and what is seen after a kill."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from impasto.data import HubPhotos, ImageDataModule, stream
from impasto.data.batches import PositionSampler, Sample

ROOT = Path(__file__).parents[1]
BATCH_SIZE = 2
KILL_AT = 10  # steps: after a second validation at 8, before the end at 12

# Runs train.py's own code with a callback that notes the photos of every step, by process, and can
# kill the process amid one, as a power cut would.
RECORDER = """
import hashlib, json, os, runpy, signal, sys
import impasto.training as training
from pytorch_lightning.callbacks import Callback

class Record(Callback):
    def on_train_batch_start(self, trainer, task, batch, _):
        self.step = trainer.fit_loop.epoch_loop.total_batch_idx
        photos = (batch * 255).round().byte().cpu().contiguous().numpy()
        digests = [hashlib.sha256(photo.tobytes()).hexdigest() for photo in photos]
        with open(f"{os.environ['RECORD']}-{trainer.global_rank}", "a") as file:
            print(json.dumps([self.step, digests]), file=file)

    def on_before_zero_grad(self, *_):
        if self.step == int(os.environ.get("KILL_AT", -1)):
            os.kill(os.getpid(), signal.SIGKILL)

prepare = training.prepare

def prepare_to_record(cfg):
    sys.argv[0] = __file__  # what Lightning starts other processes with
    run = prepare(cfg)
    run.trainer.callbacks.insert(0, Record())
    return run

training.prepare = prepare_to_record
runpy.run_path("train.py", run_name="__main__")
"""


def picture(number: int) -> dict[str, object]:
    """A photo that says its number in red, even of a piece, and has blue noise to tell pieces."""
    levels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
    levels[..., 0] = number
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def write_repository(folder: Path, num_groups: int, group_size: int = 5) -> Path:
    """A file of photos, one more than are left to train on with ``load``."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = [picture(number) for number in range(num_groups * group_size)]
    pq.write_table(pa.table({"image": photos}), folder / "train.parquet", row_group_size=group_size)
    return folder


def load(repository: Path, num_streams: int = 2) -> HubPhotos:
    return HubPhotos(
        str(repository),
        image_size=32,
        max_val_images=1,
        batch_size=BATCH_SIZE,
        num_streams=num_streams,
        buffer_size=10,
        seed=1,
    )


def batches_of(photos: HubPhotos, rank: int, num_processes: int) -> Iterator[list[Sample]]:
    """What a process trains on, without end."""
    positions = iter(PositionSampler(1000, BATCH_SIZE, lambda: 0, rank, num_processes))
    while True:
        yield [photos.train[position] for position in islice(positions, BATCH_SIZE)]


def number_of(sample: Sample) -> int:
    return int(sample.image[0, 0, 0])


def digest_of(sample: Sample) -> str:
    return hashlib.sha256(sample.image.contiguous().numpy().tobytes()).hexdigest()


# Dealing


@pytest.mark.parametrize(
    ("num_groups", "num_processes", "num_workers"), [(8, 2, 2), (12, 2, 3), (9, 3, 2), (16, 4, 4)]
)
def test_every_worker_of_every_process_has_row_groups_of_its_own(
    tmp_path: Path, num_groups: int, num_processes: int, num_workers: int
) -> None:
    photos = load(write_repository(tmp_path, num_groups), num_workers)
    photos.train.share(num_workers, num_processes)
    shares = [
        {
            number_of(sample)
            for batch in islice(batches_of(photos, rank, num_processes), worker, 60, num_workers)
            for sample in batch
        }
        for rank in range(num_processes)
        for worker in range(num_workers)
    ]
    assert set().union(*shares) == set(range(1, num_groups * 5))
    assert sum(map(len, shares)) == num_groups * 5 - 1


@pytest.mark.parametrize(("num_groups", "num_processes"), [(2, 2), (3, 2), (5, 2), (7, 3)])
def test_processes_never_share_a_row_group_where_there_is_one_for_each(
    tmp_path: Path, num_groups: int, num_processes: int
) -> None:
    photos = load(write_repository(tmp_path, num_groups), num_streams=4)
    photos.train.share(4, num_processes)
    shares = [
        {
            number_of(sample)
            for sample in chain(*islice(batches_of(photos, rank, num_processes), 40))
        }
        for rank in range(num_processes)
    ]
    assert set().union(*shares) == set(range(1, num_groups * 5))
    assert sum(map(len, shares)) == num_groups * 5 - 1


def test_processes_that_share_a_row_group_share_no_photo_of_an_epoch(tmp_path: Path) -> None:
    photos = load(write_repository(tmp_path, num_groups=1, group_size=13))
    photos.train.share(2, 3)
    ranks = [batches_of(photos, rank, 3) for rank in range(3)]
    for _ in range(2):  # epochs
        seen = [number_of(sample) for _ in range(2) for rank in ranks for sample in next(rank)]
        assert sorted(seen) == list(range(1, 13))


def test_one_process_alone_sees_what_it_always_saw(tmp_path: Path) -> None:
    photos = load(write_repository(tmp_path, 5), num_streams=3)
    before = [digest_of(photos.train[position]) for position in range(30)]
    photos.train.share(3)
    assert [digest_of(photos.train[position]) for position in range(30)] == before


def test_a_run_goes_on_in_the_same_order_on_a_machine_with_other_cores(tmp_path: Path) -> None:
    repository = write_repository(tmp_path, 6)
    here, there = (
        ImageDataModule(partial(load, repository, count), num_workers=0) for count in (3, 2)
    )
    there.load_state_dict(here.state_dict())
    there.trainer = pl.Trainer(
        accelerator="cpu", max_steps=10, logger=False, enable_checkpointing=False
    )
    there.train_dataloader()
    for position in range(40):
        assert torch.equal(there.train[position].image, here.train[position].image)


# Training


@pytest.fixture
def streamed(tiny: list[str], tmp_path: Path) -> list[str]:
    """The tiny training, streamed from a folder of few row groups with two workers."""
    others = [option for option in tiny if not option.startswith("data")]
    return [
        *others,
        "data=hub",
        f"data.repository={write_repository(tmp_path / 'repository', 5)}",
        "data.image_size=32",
        "data.crop_size=null",
        "+data.max_val_images=1",
        f"data.batch_size={BATCH_SIZE}",
        "data.num_workers=2",
        "data.buffer_size=10",
        "data.seed=1",
    ]


def train(folder: Path, options: list[str], kill_at: int = -1) -> None:
    """Train in processes of their own, noting what they see in files called ``seen``."""
    folder.mkdir(exist_ok=True)
    script = folder / "recorder.py"
    script.write_text(RECORDER)
    done = subprocess.run(
        [sys.executable, str(script), *options],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RECORD": str(folder / "seen"),
            "KILL_AT": str(kill_at),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == (0 if kill_at < 0 else -signal.SIGKILL), done.stderr[-3000:]


def seen_in(folder: Path, rank: int = 0) -> list[tuple[int, list[str]]]:
    """Steps, and the photos of each; a step that was repeated comes twice."""
    lines = (folder / f"seen-{rank}").read_text().splitlines()
    return [(step, digests) for step, digests in map(json.loads, lines)]


def run_in(folder: Path) -> Path:
    (found,) = folder.glob("runs/*/*")
    return found


@pytest.mark.slow
def test_two_processes_see_their_own_photos_and_go_on_with_the_next(
    tmp_path: Path, streamed: list[str]
) -> None:
    together = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    # Of five row groups four streams can be made; the fifth is with one of them.
    train(tmp_path / "a", [*together, *streamed, "trainer.max_steps=7"])
    train(tmp_path / "a", [f"resume={run_in(tmp_path)}", "trainer.max_steps=20"])

    photos = load(tmp_path / "repository")
    photos.train.share(2, 2)
    numbers = []
    for rank in range(2):
        batches = list(islice(batches_of(photos, rank, 2), 20))
        expected = [[digest_of(sample) for sample in batch] for batch in batches]
        assert seen_in(tmp_path / "a", rank) == list(enumerate(expected))
        numbers.append({number_of(sample) for sample in chain(*batches)})
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] == set(range(1, 25))


@pytest.mark.slow
def test_a_streamed_run_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, streamed: list[str]
) -> None:
    options = [*streamed, "trainer.max_steps=12"]
    train(tmp_path / "whole", [*options, f"run_folder={tmp_path / 'whole' / 'runs'}"])
    train(tmp_path / "cut", [*options, f"run_folder={tmp_path / 'cut' / 'runs'}"], KILL_AT)
    folder = run_in(tmp_path / "cut")
    train(tmp_path / "cut", [f"resume={folder}"])

    whole, cut = seen_in(tmp_path / "whole"), seen_in(tmp_path / "cut")
    last = KILL_AT // 4 * 4  # validated, and saved
    assert [step for step, _ in cut] == [*range(KILL_AT + 1), *range(last, 12)]
    assert all(whole[step] == (step, digests) for step, digests in cut)
    expected, reached = (
        torch.load(run / "resume.ckpt", weights_only=True)["state_dict"]
        for run in (run_in(tmp_path / "whole"), folder)
    )
    assert all(torch.equal(reached[name], weight) for name, weight in expected.items())


class Group:
    def __init__(self, number):
        self.rows, self.number = range(4), number


def test_a_stream_forgets_what_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "read_pictures", lambda group: [b""] * 4)
    photos = stream.Stream([Group(n) for n in range(40)], 8, (0,))
    most = 0
    for place in range(160):
        next(photos.rows_from(place))
        photos.pictures(int(photos._owners[place]))
        most = max(most, len(photos._window))
    assert most < 10


def test_a_stream_tries_so_many_photos_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_STAND_INS", 3)
    photos = stream.Stream([Group(n) for n in range(4)], 8, (0,))
    assert len(list(photos.rows_from(0))) == 3
