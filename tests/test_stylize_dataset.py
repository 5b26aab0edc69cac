"""Painting data sets: nothing is lost, nothing is painted twice, nothing is half there."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from impasto import Stylizer
from impasto.checkpoint import Header, load_checkpoint, save_checkpoint
from impasto.images import load_image, save_image
from impasto.networks import MultiTransformerNet, TransformerNet

pytest.importorskip("fsspec")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

import stylize_dataset  # noqa: E402
from dataset_painter import Job, Painter  # noqa: E402
from dataset_photo import decode_name, encode  # noqa: E402
from dataset_plan import claim, cut, find_items, make_plan, name_paintings  # noqa: E402
from dataset_store import LEFTOVER_SECONDS, Store  # noqa: E402

SCRIPT = Path(__file__).parents[1] / "scripts" / "stylize_dataset.py"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "night.safetensors"
    arguments = {"width": 4, "num_blocks": 1}
    torch.manual_seed(0)
    header = Header("stylization", "TransformerNet", arguments, ["night"])
    save_checkpoint(path, TransformerNet(**arguments), header)
    return path


@pytest.fixture
def job(photos: Path, tmp_path: Path) -> Job:
    """Of 24 pictures of 48x40 pixels."""
    places = (Store.at(str(photos)), Store.at(str(tmp_path / "painted")))
    return Job(*places, "keep", 95, 10**6, "image", "cpu", "fp32", 2, 10)


@pytest.fixture
def painter(checkpoint: Path) -> Callable[[Job], Painter]:
    network, header = load_checkpoint(checkpoint)
    assert isinstance(network, TransformerNet)
    return lambda job: Painter(network, header, job)


@pytest.fixture
def tables(photos: Path, tmp_path: Path) -> Path:
    """The same pictures in two Parquet files, as `datasets` writes them, and a row without one."""
    folder = tmp_path / "tables"
    folder.mkdir()
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.iterdir())]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for name, part in (("a", rows[:14]), ("b", [*rows[14:], None])):
        table = pa.table({"image": pa.array(part, kind), "label": [0] * len(part)})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=5)
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def paint(job: Job, painter: Callable[[Job], Painter]) -> tuple[int, list[dict[str, str]]]:
    paint_part = painter(job)
    reports = [paint_part(part).to_pylist()[0] for part in make_plan(job, 1).parts]
    failures = [failure for report in reports for failure in report["failures"]]
    return sum(report["painted"] for report in reports), failures


def test_files_are_painted_as_the_stylizer_does(
    job: Job, painter: Callable[[Job], Painter], checkpoint: Path, photos: Path
) -> None:
    assert paint(job, painter) == (24, [])
    stylizer = Stylizer.load(checkpoint, "cpu", "fp32")
    with Image.open(photos / "7.png") as photo, Image.open(job.paintings.path("7.png")) as painted:
        assert painted.tobytes() == stylizer(photo).tobytes()


def test_only_what_is_missing_is_painted(job: Job, painter: Callable[[Job], Painter]) -> None:
    paint(job, painter)
    for number in (3, 20):
        Path(job.paintings.path(f"{number}.png")).unlink()
    plan = make_plan(job, 1)
    assert (plan.num_photos, plan.num_missing) == (24, 2)
    assert paint(job, painter)[0] == 2
    assert make_plan(job, 1).parts == []


def test_broken_pictures_are_told_and_passed_over(
    job: Job, painter: Callable[[Job], Painter], photos: Path
) -> None:
    (photos / "3.png").write_bytes(b"no picture")
    (photos / "5.png").write_bytes((photos / "5.png").read_bytes()[:200])
    save_image(torch.zeros(1, 3, 1001, 1000), photos / "6.png")
    num_painted, failures = paint(job, painter)
    assert num_painted == 21
    assert [failure["photo"] for failure in failures] == ["3.png", "5.png", "6.png"]
    assert "too large" in failures[2]["reason"]


def test_rows_become_files(
    job: Job, painter: Callable[[Job], Painter], tables: Path, photos: Path
) -> None:
    job = replace(job, photos=Store.at(str(tables)), format="png")
    num_painted, failures = paint(job, painter)
    assert num_painted == 24
    assert failures == [
        {"photo": "b.parquet, row 10", "reason": "b.parquet, row 10 holds no picture."}
    ]
    first = sorted(photos.iterdir())[14]
    with Image.open(job.paintings.path("b/00000000.png")) as painted, Image.open(first) as photo:
        assert painted.tobytes() == painter(job).stylizer(photo).tobytes()
    assert make_plan(job, 1).num_missing == 1


@pytest.mark.parametrize("source", ["photos", "tables"])
def test_parquet_is_written_and_gone_on_with(
    job: Job,
    painter: Callable[[Job], Painter],
    source: str,
    request: pytest.FixtureRequest,
) -> None:
    place = Store.at(str(request.getfixturevalue(source)))
    job = replace(job, photos=place, format="parquet")
    assert paint(job, painter)[0] == 24
    shards = sorted(Path(job.paintings.root).iterdir())
    read = [pq.read_table(shard).to_pylist() for shard in shards]
    assert all(0 < len(rows) <= job.shard_size for rows in read)
    assert len({row["name"] for rows in read for row in rows}) == 24
    for row in read[0]:
        with Image.open(io.BytesIO(row["image"]["bytes"])) as painted:
            assert (painted.format, painted.size) == ("JPEG", (48, 40))
    shards[1].unlink()
    wanted = 24 - sum(len(pq.read_table(shard)) for shard in shards if shard.exists())
    assert paint(job, painter)[0] == wanted


def test_damaged_row_groups_are_told(
    job: Job, painter: Callable[[Job], Painter], tables: Path
) -> None:
    whole = (tables / "a.parquet").read_bytes()
    (tables / "a.parquet").write_bytes(whole[:4] + b"\0" * 3000 + whole[3004:])
    num_painted, failures = paint(replace(job, photos=Store.at(str(tables))), painter)
    assert num_painted + len(failures) == 25
    assert 5 <= len([f for f in failures if f["photo"].startswith("a.parquet")]) <= 10


def test_storage_in_memory_is_one_as_any(
    job: Job, painter: Callable[[Job], Painter], photos: Path
) -> None:
    remote = Store.at("memory://photos")
    for path in photos.iterdir():
        remote.write(f"inner/{path.name}", path.read_bytes())
    job = replace(job, photos=remote, paintings=Store.at("memory://painted"))
    assert paint(job, painter) == (24, [])
    assert {name for name, _ in job.paintings.walk()} == {f"inner/{n}.png" for n in range(24)}
    assert make_plan(job, 1).parts == []


def test_storage_that_shows_half_files_never_does(job: Job) -> None:
    class Slow:
        """A storage of which nothing is known, such as SFTP."""

        protocol = "slow"
        written: tuple[str, ...] = ()

        def makedirs(self, path: str, exist_ok: bool) -> None:
            assert exist_ok

        def pipe_file(self, path: str, content: bytes) -> None:
            self.written += (path,)

        def mv(self, old: str, new: str) -> None:
            self.written += (f"{old} {new}",)

    files = Slow()
    Store("slow://place", files, "place").write("a/b.png", b"content")
    beside, moved = files.written
    assert beside.startswith("place/a/.b.png.")
    assert moved == f"{beside} place/a/b.png"


def test_leftovers_of_killed_writers_go_once_they_are_old(job: Job) -> None:
    folder = Path(job.paintings.root)
    folder.mkdir()
    old, new, other = (folder / name for name in (".1.png.0123abcd", ".2.png.0123abcd", ".keep"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - LEFTOVER_SECONDS - 1,) * 2)
    assert make_plan(job, 1).num_missing == 24
    assert sorted(folder.iterdir()) == [new, other]


def test_a_photo_that_kills_who_paints_it_is_passed_over(
    job: Job, painter: Callable[[Job], Painter]
) -> None:
    deadly = painter(job)
    (part,) = cut(find_items(job)[1], 24)
    for _ in range(3):
        deadly.tally.begin(f"part {part.column('name')[0]}")
        deadly.tally.begin("9.png")
    (report,) = deadly(part).to_pylist()
    assert report["painted"] == 23
    assert [failure["photo"] for failure in report["failures"]] == ["9.png"]


def test_a_full_disk_is_told_as_one(
    job: Job, painter: Callable[[Job], Painter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", fail)
    for format_name in ("png", "parquet"):
        job = replace(job, format=format_name)
        (report,) = painter(job)(make_plan(job, 1).parts[0]).to_pylist()
        assert report["painted"] == 0
        assert "No space left on device" in report["fault"]


def test_another_recipe_is_refused(job: Job, painter: Callable[[Job], Painter]) -> None:
    claim(job, {"quality": 95}, make_plan(job, 1))
    paint(job, painter)
    claim(job, {"quality": 95}, make_plan(job, 1))
    with pytest.raises(ValueError, match="was painted with quality 95, which is 90 now"):
        claim(job, {"quality": 90}, make_plan(job, 1))


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"[" * 100_000], ids=["0", "1", "2", "deep"])
def test_damaged_recipe_is_told(job: Job, damaged: bytes) -> None:
    job.paintings.write(".impasto.json", damaged)
    with pytest.raises(ValueError, match=r"/\.impasto\.json is damaged, .* give another folder"):
        claim(job, {"quality": 90}, make_plan(job, 1))


def test_files_of_somebody_else_are_not_taken_for_paintings(job: Job) -> None:
    job.paintings.write("3.png", b"somebody's")
    with pytest.raises(ValueError, match="not painted by this command"):
        claim(job, {}, make_plan(job, 1))


def test_paintings_in_the_folder_of_photos_are_no_photos(job: Job) -> None:
    job = replace(job, paintings=Store.at(job.photos.path("painted")))
    job.paintings.write("3.png", b"painted")
    assert make_plan(job, 1).num_photos == 24


def test_names_that_are_no_text_are_kept(
    job: Job, painter: Callable[[Job], Painter], photos: Path
) -> None:
    try:
        (photos / "3.png").rename(photos / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("names are text on this disk")
    assert paint(job, painter) == (24, [])
    assert (Path(job.paintings.root) / os.fsdecode(b"\xff.png")).is_file()
    assert paint(replace(job, format="parquet"), painter)[0] == 24
    assert make_plan(replace(job, format="parquet"), 1).parts == []
    (photos / os.fsdecode(b"\xfe.png")).touch()
    _, (failure,) = paint(job, painter)
    assert failure["photo"] == r"\udcfe.png"


def test_names_stay_apart() -> None:
    pictures = ["a.gif", "b.JPG", "c.jpg", "c.png", "d/c.png"]
    assert name_paintings(pictures, "keep") == ["a.png", "b.JPG", "c.jpg", "c.png", "d/c.png"]
    assert name_paintings(pictures, "webp")[2:] == ["c.jpg.webp", "c.png.webp", "d/c.webp"]
    with pytest.raises(ValueError, match=r"Two photos would both become c\.png\.png"):
        name_paintings(["c.png.png", "c.png", "c.jpg"], "png")


def test_row_groups_stay_together(job: Job, tables: Path) -> None:
    parts = list(cut(find_items(replace(job, photos=Store.at(str(tables))))[1], 6))
    assert [len(part) for part in parts] == [10, 9, 6]
    assert decode_name(parts[1].column("source")[0].as_py()) == "a.parquet"


def test_opacity_is_laid_on_white_for_jpeg() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    with Image.open(io.BytesIO(encode(clear, ".jpg", 95))) as picture:
        assert picture.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", ["painted"], "holds no photos"),
        ("photos", ["photos"], "is the input itself"),
        ("mixed", ["painted"], "only one of both"),
        ("tables", ["painted", "--column=label"], "--column must name a column of pictures"),
        ("what://photos", ["painted"], "Protocol not known: what"),
    ],
)
@pytest.mark.usefixtures("photos", "tables")
def test_wrong_arguments_are_one_line_and_exit_code_2(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "mixed").mkdir()
    for name in ("a.png", "a.parquet"):
        (tmp_path / "mixed" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stylize_dataset, "RAY_DATA", ())
    monkeypatch.setattr(sys, "argv", ["stylize_dataset.py", str(checkpoint), source, *options])
    assert stylize_dataset.main() == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_missing_ray_is_one_line_that_says_what_to_install(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stylize_dataset, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["stylize_dataset.py", str(checkpoint), "photos", "painted"])
    assert stylize_dataset.main() == 2
    said = capsys.readouterr().err
    assert said.endswith("pip install 'impasto[cluster]'.\n")
    assert len(said.splitlines()) == 1


def actors_of(process: int) -> list[int]:
    """Those that paint, oldest first."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in table.splitlines()]
    parents = {int(row[0]): int(row[1]) for row in rows}

    def is_ours(number: int) -> bool:
        while number in parents and number != process:
            number = parents[number]
        return number == process

    painting = [int(row[0]) for row in rows if row[2:] and "MapBatches(Actor)" in row[2]]
    return sorted(filter(is_ours, painting))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no ps")
def test_nothing_is_lost_when_an_actor_is_killed(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    photos, painted = tmp_path / "photos", tmp_path / "painted"
    noise = torch.rand(1, 3, 320, 480, generator=torch.Generator().manual_seed(0))
    for number in range(40):
        save_image(noise.roll(number, 3), photos / f"{number % 3}" / f"{number:02}.jpg")
    broken = photos / "broken.jpg"
    broken.write_bytes(b"no picture")
    command = [sys.executable, SCRIPT, checkpoint, photos, painted, "--actors=2", "--device=cpu"]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None and not any(painted.rglob("[0-9]*.jpg")):
            time.sleep(0.01)
        os.kill(actors_of(process.pid)[0], signal.SIGKILL)
        num_before = len(list(painted.rglob("[0-9]*.jpg")))
        said, _ = process.communicate(timeout=120)
    assert num_before < 40, said
    assert process.returncode == 1, said
    assert "broken.jpg cannot be read as a picture" in said
    assert "40 of 41 photos are painted" in said
    names = {str(path.relative_to(photos)) for path in photos.rglob("[0-9]*.jpg")}
    stamps = {path: path.stat().st_mtime_ns for path in painted.rglob("[0-9]*.jpg")}
    assert {str(path.relative_to(painted)) for path in stamps} == names
    for name in names:
        with Image.open(painted / name) as picture:
            picture.load()
    assert json.loads((painted / ".impasto.json").read_text())["quality"] == 95

    broken.unlink()
    again = run(checkpoint, photos, painted, "--actors=2", "--device=cpu")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in painted.rglob("[0-9]*.jpg")} == stamps


def test_knobs_decide_what_is_painted(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("ray")
    network = MultiTransformerNet(2, width=2, num_blocks=1)
    torch.nn.init.normal_(network.style_rows)
    arguments = {"num_styles": 2, "strokes": [256, 512], "width": 2, "num_blocks": 1}
    header = Header("stylization", "MultiTransformerNet", arguments, ["dots", "waves"])
    checkpoint = tmp_path / "many.safetensors"
    save_checkpoint(checkpoint, network, header)
    places = (checkpoint, photos, tmp_path / "painted", "--actors=1", "--precision=fp32")
    refused = run(*places, "--style=stripes")
    assert refused.returncode == 2
    assert "No style 'stripes' in this checkpoint: it has dots, waves." in refused.stderr
    assert run(*places, "--style=dots/waves").returncode == 2
    done = run(*places, "--style=waves", "--stroke=300", "--format=png")
    assert done.returncode == 0, done.stderr
    first = min(photos.iterdir())
    stylizer = Stylizer(network, header, "cpu", "fp32", style="waves", stroke=300)
    painted = load_image(tmp_path / "painted" / f"{first.stem}.png")
    assert (painted - stylizer(load_image(first))).abs().max() < 2 / 255
