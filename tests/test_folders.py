"""Folders: painted at full speed, gone on with after any end, and only what must be painted."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto import cli, files, painting
from impasto.cli import main
from impasto.inference import Stylizer
from impasto.jobs import Job, plan_folder
from impasto.manifest import MANIFEST_NAME, Manifest, State, file_stamp
from impasto.painting import paint


class Negative:
    """Paints negatives, in no time or some; counts what it is given."""

    device = torch.device("cpu")

    def __init__(self, seconds: float = 0) -> None:
        self.seconds, self.num_painted, self.threads = seconds, 0, set[int]()

    def fits(self, height: int, width: int) -> bool:
        return True

    def __call__(self, image: Tensor | Image.Image, progress: object = None) -> Any:
        self.num_painted += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if isinstance(image, Tensor):
            return 255 - image
        return image.convert("RGB").point(lambda level: 255 - level)


def draw(folder: Path, num_pictures: int, suffix: str = "png") -> None:
    for number in range(num_pictures):
        path = folder / f"{number % 3}" / f"{number:04}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3 + number % 5, 4), (number % 256, 0, 0)).save(path)


def run(stylizer: object, overwrite: bool = False, recipe: str = "night", workers: int = 3) -> Job:
    job = plan_folder(Path("photos"), "painted", "negative")
    arguments = {"quality": 95, "max_pixels": 10**6, "workers": workers}
    paint(
        job, cast("Stylizer", stylizer), recipe={"ckpt": recipe}, overwrite=overwrite, **arguments
    )
    return job


def paintings() -> list[Path]:
    return sorted(p for p in Path("painted").rglob("*") if p.is_file() and p.name != MANIFEST_NAME)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # a thousand times, it takes seconds
    return tmp_path


def test_broken_among_a_thousand_are_reported_and_the_rest_painted(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "photos", 1000)
    broken = sorted(Path("photos").rglob("*.png"))[50::100]
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    Path("ckpt").write_bytes(b"night")
    stylizer = Negative()
    stylizer.header, stylizer.dtype = type("H", (), {"styles": ["a"]}), "f"  # type: ignore[attr-defined]
    monkeypatch.setattr(cli.Stylizer, "load", lambda *_: stylizer)

    assert main(["ckpt=ckpt", "input=photos", "output=painted"]) == 1

    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[-1] == "10 of 1000 pictures failed."
    assert [line.split(" cannot be read")[0] for line in lines[:-1]] == [str(p) for p in broken]
    assert len(paintings()) == 990
    assert "990 painted" in captured.out
    assert "pictures per second with reading and saving" in captured.out
    assert len(stylizer.threads) == 1


def test_every_painting_is_of_its_photo(here: Path) -> None:
    draw(here / "photos", 60)
    run(Negative())
    for path in paintings():
        with Image.open(path) as painted, Image.open("photos" / path.relative_to("painted")) as of:
            assert painted.size == of.size
            assert painted.getpixel((0, 0)) == tuple(255 - v for v in of.getpixel((0, 0)))  # type: ignore[union-attr]


def test_second_run_paints_nothing(here: Path) -> None:
    draw(here / "photos", 5)
    run(Negative())
    stylizer = Negative()
    job = run(stylizer)
    assert (job.num_kept, job.num_foreign, job.num_painted, stylizer.num_painted) == (5, 0, 0, 0)


def test_changed_photo_is_painted_again(here: Path) -> None:
    draw(here / "photos", 5)
    run(Negative())
    Image.new("RGB", (9, 9)).save("photos/0/0003.png")
    job = run(Negative())
    assert (job.num_kept, job.num_painted) == (4, 1)
    with Image.open("painted/0/0003.png") as picture:
        assert picture.size == (9, 9)
    assert run(Negative()).num_kept == 5


def test_another_recipe_paints_all_again(here: Path) -> None:
    draw(here / "photos", 5)
    run(Negative())
    assert run(Negative(), recipe="scream").num_painted == 5
    assert run(Negative(), recipe="scream").num_kept == 5


def test_file_of_others_is_kept_until_told(here: Path) -> None:
    draw(here / "photos", 3)
    Path("painted/0").mkdir(parents=True)
    Path("painted/0/0000.png").write_bytes(b"of others")
    for recipe in ("night", "scream"):
        job = run(Negative(), recipe=recipe)
        assert (job.num_kept, job.num_foreign, job.num_painted) == (1, 1, 2)
        assert Path("painted/0/0000.png").read_bytes() == b"of others"
    assert run(Negative(), overwrite=True).num_painted == 3
    assert run(Negative()).num_foreign == 0


def test_painting_that_was_worked_on_is_kept(here: Path) -> None:
    draw(here / "photos", 3)
    run(Negative())
    Path("painted/0/0000.png").write_bytes(b"retouched")
    Path("photos/0/0000.png").touch()
    job = run(Negative(), recipe="scream")
    assert (job.num_kept, job.num_foreign, job.num_painted) == (1, 1, 2)
    assert Path("painted/0/0000.png").read_bytes() == b"retouched"


@pytest.mark.parametrize("tail", [b'{"painting": "0/00', b"null\n[]\n\xff\n7", b"", b"\n\n"])
def test_torn_record_is_survived(here: Path, tail: bytes) -> None:
    draw(here / "photos", 4)
    run(Negative())
    record = Path("painted", MANIFEST_NAME)
    lines = record.read_bytes().splitlines(keepends=True)
    lost = json.loads(lines.pop())["painting"]
    record.write_bytes(b"".join(lines) + tail)
    Path("painted", lost).unlink()
    assert run(Negative()).num_painted == 1
    job = run(Negative())
    assert (job.num_kept, job.num_foreign) == (4, 0)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_run_that_was_ended_goes_on(here: Path, end: signal.Signals) -> None:
    draw(here / "photos", 60)
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # off in background jobs
        "import test_folders\n"
        "try:\n    test_folders.run(test_folders.Negative(0.02))\n"
        "except KeyboardInterrupt:\n    sys.exit(130)"
    )
    tests = str(Path(__file__).parent)
    with subprocess.Popen([sys.executable, "-c", code, tests], stderr=subprocess.PIPE) as process:
        until(lambda: len(list(Path("painted").rglob("*.png"))) > 5)
        process.send_signal(end)
        start = time.monotonic()
        _, errors = process.communicate(timeout=20)
        assert time.monotonic() - start < 10
    assert process.returncode == (-9 if end is signal.SIGKILL else 130)
    assert b"Traceback" not in errors
    finished = [path for path in paintings() if not path.name.startswith(".")]
    if end is signal.SIGINT:
        assert finished == paintings()  # nothing half-written stays behind
    assert 5 < len(finished) < 60
    for path in finished:
        with Image.open(path) as picture:
            picture.load()  # nothing half-written bears a painting's name
    before = {path: path.stat().st_mtime_ns for path in finished}

    job = run(Negative())

    assert job.num_painted == 60 - len(finished)
    assert before == {path: path.stat().st_mtime_ns for path in finished}


def until(is_so: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_leftover_of_a_killed_run_is_removed(here: Path) -> None:
    draw(here / "photos", 3)
    leftover, young, other = (
        Path(f"painted/0/{n}") for n in (".0000.png.01234567", ".0000.png.89abcdef", ".notes.1a")
    )
    leftover.parent.mkdir(parents=True)
    for path in (leftover, young, other):
        path.touch()
    for path in (leftover, other):
        os.utime(path, (0, 0))
    run(Negative())
    assert not leftover.exists()
    assert young.exists()  # maybe of a run that goes on right now
    assert other.exists()


def test_full_disk_ends_the_run_with_nothing_half_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "photos", 40)
    calls = []

    def full_after_ten(_: int) -> None:
        calls.append(1)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_after_ten)
    stylizer = Negative()
    job = plan_folder(Path("photos"), "painted", "negative")
    with pytest.raises(OSError, match="No space left"):
        paint(
            job,
            cast("Stylizer", stylizer),
            recipe={},
            overwrite=False,
            quality=95,
            max_pixels=10**6,
            workers=2,
        )
    assert job.num_painted == len(paintings()) == 10
    assert stylizer.num_painted < 20  # it stopped at once
    assert len(Path("painted", MANIFEST_NAME).read_text().splitlines()) == 10


def test_name_that_cannot_be_written_spoils_no_other(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(here / "photos", 3)
    Image.new("L", (2, 2)).save("photos/0/a.bw", "SGI")
    Path("photos/0/a.bw").rename("photos/0/" + "x" * 252 + ".bw")  # becomes .png, of 256 bytes
    Path("painted/1/0001.png").mkdir(parents=True)
    for overwrite, num_failed in ((False, 1), (True, 2)):
        job = run(Negative(), overwrite)
        assert (job.num_painted, job.num_failed) == (2, num_failed)
        errors = capsys.readouterr().err
        assert "xxx.png cannot be saved: File name too long." in errors
    assert "painted/1/0001.png cannot be saved: Is a directory." in errors


def test_folder_in_a_file_s_place_spoils_no_other(here: Path) -> None:
    draw(here / "photos", 6)
    (here / "painted").mkdir()
    (here / "painted" / "1").write_text("a file where a folder is needed")
    job = run(Negative())
    assert (job.num_painted, job.num_failed) == (4, 2)


def test_paintings_of_another_run_are_no_photos(here: Path) -> None:
    draw(here / "photos", 3)
    inside = here / "photos" / "painted"
    inside.mkdir()
    Image.new("RGB", (3, 4)).save(inside / "0.png")
    assert len(plan_folder(here / "photos", "other", "negative").targets) == 4
    (inside / MANIFEST_NAME).touch()
    assert len(plan_folder(here / "photos", "other", "negative").targets) == 3
    assert len(plan_folder(inside, "other", "negative").targets) == 1


def test_few_pictures_are_held_at_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(here / "photos", 40)
    opened, most = [], []
    open_picture = painting.open_picture

    def counting(path: Path, max_pixels: int) -> Image.Image:
        opened.append(path)
        most.append(len(opened) - stylizer.num_painted)
        return open_picture(path, max_pixels)

    monkeypatch.setattr(painting, "open_picture", counting)
    stylizer = Negative(0.002)
    run(stylizer, workers=3)
    assert len(opened) == 40
    assert max(most) <= 3 + 2  # ahead, just taken, and being painted


def test_reading_painting_and_saving_overlap(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(here / "photos", 20)
    for name in ("open_picture", "save_picture"):
        slow(monkeypatch, name, 0.03)
    start = time.monotonic()
    job = run(Negative(0.03), workers=4)
    assert time.monotonic() - start < 0.7 * 20 * 3 * 0.03
    assert job.wall_seconds < 0.7 * 20 * 3 * 0.03


def test_what_a_gpu_paints_is_waited_for_where_it_is_saved(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One begins to be painted before the one before it has come back; one never comes back."""
    draw(here / "photos", 3)
    events = []
    second_began = threading.Event()

    def fetch_late(painted: Tensor) -> Callable[[], np.ndarray]:
        red = 255 - int(painted[0, 0, 0, 0])
        events.append(f"{red} began")
        if red == 1:
            second_began.set()

        def wait() -> np.ndarray:
            assert second_began.wait(10)
            events.append(f"{red} came")
            if red == 2:
                raise RuntimeError("CUDA out of memory.")
            return painted[0].permute(1, 2, 0).numpy()

        return wait

    monkeypatch.setattr(painting, "fetch", fetch_late)
    job = run(Negative())
    assert events.index("1 began") < events.index("0 came")
    assert (job.num_painted, job.num_failed) == (2, 1)
    assert "0002.png is too large for the memory of this device" in capsys.readouterr().err
    assert Image.open("painted/1/0001.png").getpixel((0, 0)) == (254, 255, 255)
    assert not Path("painted/2/0002.png").exists()


def slow(monkeypatch: pytest.MonkeyPatch, name: str, seconds: float) -> None:
    function = getattr(painting, name)

    def slowed(*arguments: object) -> object:
        time.sleep(seconds)  # without the GIL, as Pillow decodes and encodes
        return function(*arguments)

    monkeypatch.setattr(painting, name, slowed)


def test_record_after_a_torn_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1")
    manifest = Manifest(tmp_path, tmp_path, {})
    whole = Path.open

    class Torn:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:20])
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Torn(whole(path, mode)))
        with pytest.raises(OSError, match="No space"):
            manifest.record(tmp_path / "a", file_stamp(tmp_path / "a"), tmp_path / "a")
    manifest.record(tmp_path / "b", file_stamp(tmp_path / "b"), tmp_path / "b")
    later = Manifest(tmp_path, tmp_path, {})
    assert later.state(tmp_path / "b", tmp_path / "b") == State.DONE


def test_stamp_tells_changes_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    os.utime(path, ns=(10**18, 10**18))
    before = file_stamp(path)
    os.utime(path, ns=(10**18, 10**18 + 10**6))
    assert file_stamp(path) != before
