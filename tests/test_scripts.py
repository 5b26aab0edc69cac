"""Scripts and commands run as users run them, at the smallest size."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hydra import compose, initialize_config_dir

import ablate
import benchmark_filling
import judging
import release
from impasto import Inpainter, Stylizer
from impasto.cards import Painting, load_card
from impasto.checkpoint import Header, save_checkpoint
from impasto.images import load_image, open_picture
from impasto.networks import ContextEncoderPlus, TransformerNet

ROOT = Path(__file__).parents[1]


def run(
    script: str, *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,  # two minutes pass on a busy machine
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=/nowhere", "/nowhere"),
        ("style.image=???", "style.image must be given"),
        ("loss_network.weights=/nowhere.pth", "No weights at /nowhere.pth"),
    ],
)
def test_wrong_setting_is_one_line_and_exit_code_2(
    tiny: list[str], override: str, message: str
) -> None:
    done = run("train.py", *tiny, override)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_sweep_goes_on_after_a_training_that_cannot_be(tiny: list[str], tmp_path: Path) -> None:
    options = [option for option in tiny if not option.startswith("model.width")]
    done = run("train.py", "-m", *options, "model.width=0,2", f"hydra.sweep.dir={tmp_path / 'all'}")
    assert done.returncode == 1, done.stderr
    assert "width" in done.stderr
    assert len(list(tmp_path.glob("runs/tiny/*/network.safetensors"))) == 1


def test_training_without_a_style_is_told_what_is_missing() -> None:
    done = run("train.py")
    assert done.returncode == 2
    assert "No style: choose one, as in style=starry_night" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_style_is_answered_with_the_known_ones() -> None:
    done = run("train.py", "style=nonsense")
    assert done.returncode != 0
    assert "starry_night" in done.stderr
    assert "Traceback" not in done.stderr


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
def test_style_card_keeps_its_facts_when_it_is_made_again(painting: Path, tmp_path: Path) -> None:
    card, preview = tmp_path / "noise.safetensors", tmp_path / "preview.png"
    make = ["scripts/make_style_card.py", str(painting), str(card), "--steps=2"]
    first = run(*make, "--sizes=32", "--title=Noise, grey", "--year=about 1831")
    assert first.returncode == 0, first.stderr
    assert re.search(r"Wrote .*noise\.safetensors, \d+ kB\.", first.stdout)
    second = run(*make, "--sizes", "32", "64", "--year=1832", f"--preview={preview}")
    assert second.returncode == 0, second.stderr
    made = load_card(card)
    assert made.painting == Painting(title="Noise, grey", year="1832")
    assert (made.name, list(made.targets)) == ("noise", [32, 64])
    assert open_picture(preview).size == (224, 224)


def test_style_card_of_no_picture_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run("scripts/make_style_card.py", "/nowhere.jpg", str(tmp_path / "card.safetensors"))
    assert done.returncode == 2
    assert done.stderr.startswith("make_style_card.py: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "card.safetensors").exists()


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


@pytest.mark.slow
@pytest.mark.parametrize("own_style", [True, False])
def test_demo_says_where_everything_is(painting: Path, tmp_path: Path, own_style: bool) -> None:
    awkward = tmp_path / "it's a (painting), really.png"
    painting.rename(awkward)
    environment = {
        "PHOTO": str(awkward),
        "STYLE_IMAGE": str(awkward) if own_style else "",
        "DEMO_OPTIONS": "trainer.max_steps=2 data.image_size=64 data.crop_size=null model.width=2",
    }
    done = run("scripts/demo.py", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    for name, path in re.findall(r"^  (picture|checkpoint) +(.*)$", done.stdout, re.MULTILINE):
        assert (tmp_path / path).is_file(), name
    assert ("style=starry_night" in done.stdout) != own_style
    assert "tensorboard --logdir" in done.stdout


def test_links_of_the_readme_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "checkpoints" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), link


def test_networks_of_the_readme_paint() -> None:
    for name in set(
        re.findall(r"checkpoints/[\w]+\.safetensors", (ROOT / "README.md").read_text())
    ):
        photo, mask = torch.rand(1, 3, 33, 20), torch.zeros(1, 1, 33, 20)
        if Inpainter.takes(ROOT / name):
            mask[..., 9:20, 9:15] = 1
            result = Inpainter.load(ROOT / name, device="cpu")(photo, mask)
        else:
            result = Stylizer.load(ROOT / name, device="cpu")(photo)
        assert result.shape == (1, 3, 33, 20)


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


@pytest.mark.slow
def test_release_trains_what_is_missing_each_from_what_it_starts_with(
    tiny_lite: list[str], photos: Path, tmp_path: Path
) -> None:
    kept = ("data.image", "data.crop", "data.batch", "data.num", "model.", "trainer.")
    tiny = [option for option in tiny_lite if option.startswith(kept)]
    only = "--only=starry_night,starry_night_steady"
    command = ("scripts/release.py", str(photos), str(tmp_path), *tiny, "trainer.max_steps=4", only)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    made = [Stylizer.load(tmp_path / f"{name}.safetensors") for name in only[7:].split(",")]
    assert [stylizer.header.styles for stylizer in made] == [["starry_night"]] * 2
    (config,) = tmp_path.glob("runs/starry_night_steady/*/config.yaml")
    assert f"init: {tmp_path / 'starry_night.safetensors'}" in config.read_text()

    again = run(*command)
    assert again.returncode == 0
    assert again.stdout == ""


def test_release_knows_what_it_can_train(tmp_path: Path) -> None:
    done = run("scripts/release.py", str(tmp_path), str(tmp_path), "--only=nonsense")
    assert done.returncode == 2
    assert "no nonsense; there are composition_vii" in done.stderr


@pytest.mark.parametrize("full", [False, True])
def test_release_asks_for_what_the_configs_have(full: bool) -> None:
    everything = release.trainings(full)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for training in everything:
            assert compose("train", [*training.overrides, "data=folder"]).task._target_
    names = [training.name for training in everything]
    for number, training in enumerate(everything):
        assert training.start is None or training.start in names[:number]
