"""Scripts and commands run as users run them, at the smallest size."""

import importlib.util
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import release
from command import ROOT, run
from impasto import Inpainter, Stylizer
from impasto.cards import Painting, load_card
from impasto.images import open_picture


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
@pytest.mark.parametrize(
    "command", [["train.py", "style=udnie"], ["infer.py", "ckpt=a.safetensors", "input=b.png"]]
)
def test_interrupt_amid_imports_is_no_traceback(command: list[str]) -> None:
    verbose = [sys.executable, "-v", *command]  # tells what it imports
    with subprocess.Popen(verbose, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while not process.stderr.readline().startswith("import 'torch"):
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("/runs/mine/2026", "resume=/runs/mine/2026"),
        ("/runs/my (1)/2026", "\"resume='/runs/my (1)/2026'\""),
    ],
)
def test_run_of_any_name_can_be_gone_on_with(path: str, argument: str) -> None:
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec
    assert spec.loader
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    told = train._for_hydra("resume", Path(path))
    assert shlex.split(told) == shlex.split(argument)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        assert compose("train", overrides=shlex.split(told)).resume == path


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
    preview = ["--preview", str(tmp_path / "preview.xyz")]
    done = run("scripts/make_style_card.py", "x.jpg", str(tmp_path / "card.safetensors"), *preview)
    assert done.returncode == 2
    assert "--preview must end in one of" in done.stderr


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
