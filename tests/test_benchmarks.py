"""Scripts that measure, at the smallest size: what they print, write and compare."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hydra import compose, initialize_config_dir

import ablate
import benchmark_filling
import judging
from command import ROOT, run
from impasto.checkpoint import Header, save_checkpoint
from impasto.images import load_image
from impasto.networks import ContextEncoderPlus, TransformerNet


@pytest.mark.slow
def test_training_benchmark_writes_its_ratios(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    sizes = ["--size=32", "--width=2", "--batch-size=1", "--repeats=2"]
    done = run("scripts/benchmark.py", "training", *sizes, f"--json={figures}")
    assert done.returncode == 0, done.stderr
    written = json.loads(figures.read_text())
    for name in ("ratio", "lite_ratio", "lite_over_ours"):
        lowest, highest = written[f"{name}_spread"]
        assert lowest <= written[name] <= highest
        assert f"{written[name]:.2f} times as fast" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "budget", "count"),
    [("crops", "--steps=1", 5), ("padding", "--seconds=1", 2)],
)
def test_ablation_prints_a_row_for_every_variant(
    painting: Path, photos: Path, tmp_path: Path, group: str, budget: str, count: int
) -> None:
    inputs = [f"--painting={painting}", f"--photos={photos}", "--teacher=random"]
    sizes = [f"--only={group}", budget, "--num-held-out=1"]
    done = run("scripts/ablate.py", *inputs, *sizes, f"--grid={tmp_path / 'grid.png'}")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + count
    assert (tmp_path / "grid.png").is_file()


def test_ablation_has_one_budget() -> None:
    inputs = ["--painting=painting.png", "--photos=photos", "--steps=250", "--seconds=1"]
    done = run("scripts/ablate.py", *inputs)
    assert done.returncode == 2
    assert "not allowed with argument --steps" in done.stderr


def test_default_of_the_ablation_is_what_training_does() -> None:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", ["data=folder"])
    assert cfg.model.width == 16
    assert cfg.data.image_size == ablate.SIZE
    assert cfg.loss.num_levels == judging.NUM_LEVELS
    assert (
        ablate.Variant(
            lattice_weight=cfg.loss.lattice_weight,
            random_views=cfg.loss.random_views,
            schedule=cfg.task.schedule,
            learning_rate=cfg.task.learning_rate,
            warmup=cfg.task.warmup_steps,
            batch_size=cfg.data.batch_size,
            crop_size=cfg.data.crop_size,
            input_noise=cfg.task.input_noise,
        )
        == ablate.DEFAULT
    )
    for group in ablate.GROUPS.values():
        assert group[0] == ablate.DEFAULT
        assert len(set(group)) == len(group)


@pytest.mark.slow
def test_loader_benchmark_reads_a_folder_of_ones_own(photos: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = [f"--path={photos}", "--repeats=1", f"--json={figures}"]
    done = run("scripts/benchmark.py", "loader", *arguments)
    assert done.returncode == 0, done.stderr
    assert "x plain" in done.stdout
    (contenders,) = json.loads(figures.read_text()).values()
    assert len(contenders) == 8


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "night.safetensors"
    arguments = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["night"])
    save_checkpoint(path, TransformerNet(**arguments), header)
    return path


@pytest.mark.slow
def test_inference_benchmark_writes_table_figures_and_chart(network: Path, tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.svg"
    arguments = [f"--ckpt={network}", "--sizes", "24x16", "--repeats=2", "--only", "ours", "half"]
    arguments += [f"--json={figures}", f"--chart={chart}"]
    done = run("scripts/benchmark.py", "inference", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert [row["name"] for row in rows] == ["plain", "ours", "half"]
    assert rows[0]["times_plain"] == 1
    for row in rows:
        assert row["ms"] > 0
        assert row["first_call_s"] > row["ms"] / 1000
        assert row["peak_memory_mb"] > 50
    assert rows[1]["largest_difference"] <= 3
    assert rows[1]["floor_ms"] > 0
    assert done.stdout.count("| 24x16 |") == 3
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")


def test_precision_is_measured_in_levels(network: Path, painting: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "photo.png").write_bytes(painting.read_bytes())
    arguments = [f"--photos={photos}", "--size=32"]
    same = run("scripts/measure_precision.py", str(network), *arguments, "--precision=fp32")
    assert same.returncode == 0, same.stderr
    assert "| night.safetensors | night | 0 | 0 | 0.000 |" in same.stdout
    rounded = run("scripts/measure_precision.py", str(network), *arguments, "--precision=bf16")
    row = next(line for line in rounded.stdout.splitlines() if "| night |" in line)
    assert 0 < float(row.split("|")[5]) < 2


@pytest.mark.slow
def test_filling_benchmark_compares_with_a_classical_fill(tmp_path: Path) -> None:
    network, figures = tmp_path / "network.safetensors", tmp_path / "figures.json"
    save_checkpoint(
        network,
        ContextEncoderPlus(width=1),
        Header("inpainting", "ContextEncoderPlus", {"width": 1}, []),
    )
    whole, baseline = benchmark_filling.PROCESS, benchmark_filling.BASELINE
    arguments = [f"--ckpt={network}", "--sizes", "24", "--repeats=2", f"--json={figures}"]
    done = run("scripts/benchmark.py", "filling", *arguments, "--only", whole, baseline)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(figures.read_text())["rows"]}
    assert list(rows) == ["ours", whole, baseline]
    assert rows[baseline]["times_harmonic"] == 1
    assert rows[whole]["s"] > rows["ours"]["first_s"] > 0
    assert done.stdout.count("| 24 |") == 3


def test_picture_of_holes_has_a_row_for_every_photo(tmp_path: Path) -> None:
    network = tmp_path / "network.safetensors"
    save_checkpoint(
        network,
        ContextEncoderPlus(width=1),
        Header(task="inpainting", network="ContextEncoderPlus", arguments={"width": 1}),
    )
    done = run("scripts/hole_grid.py", str(tmp_path / "grid.png"), str(network), "--size", "24")
    assert done.returncode == 0, done.stderr
    grid = load_image(tmp_path / "grid.png")[0]
    gap = (grid.shape[1] - 3 * 24) // 4
    assert grid.shape == (3, 3 * 24 + 4 * gap, 8 * 24 + 9 * gap)
    row = grid[:, gap : gap + 24]
    holed, telea, filled, original = (
        row[:, :, gap + column * (24 + gap) :][:, :, :24] for column in range(4)
    )
    assert (original - row[:, :, -24 - gap : -gap]).abs().max() == 0
    for fill in (telea, filled):
        assert 0 < (fill - original).abs().mean() < (holed - original).abs().mean()


@pytest.mark.slow
def test_tiles_are_measured_against_the_whole(
    network: Path, painting: Path, tmp_path: Path
) -> None:
    arguments = ["--size=160", "--tile-size=64", "--large", "300", "200", "--precision=fp32"]
    done = run("scripts/measure_tiles.py", str(network), str(painting), *arguments)
    assert done.returncode == 0, done.stderr
    same = re.search(r"with the same statistics: (\d+\.\d+) levels at most", done.stdout)
    assert same
    assert float(same[1]) <= 0.01
    assert re.search(r"seams: \d\.\d{3}; the whole", done.stdout)
    assert re.search(r"300 x 200: \d+ s, \d\.\d\d GiB of memory at most", done.stdout)
