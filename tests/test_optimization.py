"""Painting by optimisation: it goes downhill, goes on where it stopped, and takes what is asked."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import easel
import evaluate_iterations
import optimize
from evaluate_iterations import build_loss, count_iterations, summarize, told
from impasto.checkpoint import Header, save_checkpoint
from impasto.container import write_container
from impasto.features import find_features, mixed
from impasto.images import open_picture, save_image
from impasto.loss_networks import VGG, Lite
from impasto.losses import PerceptualLoss, style_targets
from impasto.minimizers import LBFGS, Adam, Minimizer
from impasto.networks import TransformerNet
from impasto.optimization import (
    DARKEST,
    Objective,
    Optimization,
    Remembering,
    choose_sizes,
    logits_of,
    plan_steps,
)

LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0}


def bowl(point: Tensor) -> tuple[float, Tensor]:
    """A long narrow valley, lowest at 3."""
    steepness = torch.logspace(0, 2, point.numel()).view_as(point)
    distance = point - 3
    return (steepness * distance.square()).sum().item() / 2, steepness * distance


@pytest.fixture
def photo() -> Tensor:
    return torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def loss(lite: Lite) -> PerceptualLoss:
    painting = 0.2 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(4))
    targets = style_targets(lite, painting, LAYERS, num_levels=2)
    return PerceptualLoss(lite, targets, {"relu2_1": 1}, LAYERS, content_weight=0.1)


@pytest.fixture(autouse=True)
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes for pictures of 80x64 pixels."""
    monkeypatch.setattr("impasto.optimization.SMALLEST_SIZE", 32)


def finish(optimization: Optimization) -> Tensor:
    while not optimization.done:
        optimization.advance()
    return optimization.image()


def test_lbfgs_finds_the_lowest_point_of_a_valley() -> None:
    minimizer = LBFGS(torch.zeros(2, 5))
    values = []
    for _ in range(60):
        minimizer.iterate(bowl)
        values.append(minimizer.value)
    assert values == sorted(values, reverse=True)
    assert torch.allclose(minimizer.point, torch.full((2, 5), 3.0), atol=1e-3)


def test_lbfgs_takes_shorter_steps_where_a_step_leads_uphill() -> None:
    calls = []

    def steep(point: Tensor) -> tuple[float, Tensor]:
        calls.append(point)
        return point.square().sum().item() / 2, point

    minimizer = LBFGS(torch.full((4,), 0.01))  # a first step of 0.1 leads far beyond 0
    assert minimizer.iterate(steep)
    assert len(calls) > 2
    assert minimizer.value < 4 * 0.01**2 / 2


def test_lbfgs_says_when_nothing_is_to_be_gained() -> None:
    minimizer = LBFGS(torch.full((3,), 3.0))
    assert not minimizer.iterate(lambda point: (1.0, torch.ones_like(point)))
    assert torch.equal(minimizer.point, torch.full((3,), 3.0))


@pytest.mark.parametrize("kind", [LBFGS, Adam])
def test_minimizer_goes_on_as_if_it_had_not_stopped(kind: type[LBFGS] | type[Adam]) -> None:
    whole: Minimizer = kind(torch.zeros(6))
    for _ in range(4):
        whole.iterate(bowl)
    saved = {name: tensor.clone() for name, tensor in whole.state().items()}
    resumed: Minimizer = kind(torch.ones(6))
    resumed.restore(saved)
    for minimizer in (whole, resumed):
        for _ in range(4):
            minimizer.iterate(bowl)
    assert torch.equal(whole.point, resumed.point)
    assert not torch.equal(whole.point, saved["point"])


def test_sizes_are_halved_as_often_as_something_is_left() -> None:
    assert choose_sizes(96, 130, 16) == [(24, 32), (48, 65), (96, 130)]
    assert choose_sizes(96, 130, 48) == [(48, 65), (96, 130)]
    assert choose_sizes(20, 40, 16) == [(20, 40)]


def test_steps_are_fewer_where_they_cost_more() -> None:
    assert plan_steps(100, 3) == [100, 50, 25]
    assert plan_steps(1, 3) == [1, 1, 1]


def test_photo_is_looked_at_once(lite: Lite, photo: Tensor) -> None:
    network = Remembering(lite)
    network.remember(photo)
    first = network(photo, {"relu2_1": 1})
    assert network(photo, {"relu2_1": 1}) is first
    assert set(network(photo, LAYERS)) == set(LAYERS)
    other = network(photo.clone(), {"relu2_1": 1})
    assert other is not first
    assert torch.equal(other["relu2_1"], first["relu2_1"])


def test_gradient_of_the_objective_is_its_slope(loss: PerceptualLoss, photo: Tensor) -> None:
    objective = Objective(loss, photo)
    logits = (photo.flip(3) * 0.8 + 0.1).logit()
    value, gradient = objective(logits)
    assert value == pytest.approx(objective.parts["style"] + 0.1 * objective.parts["content"])
    move = 1e-2 * gradient / gradient.norm()
    ahead, behind = objective(logits + move)[0], objective(logits - move)[0]
    assert (ahead - behind) / 2 == pytest.approx((gradient * move).sum().item(), rel=0.02)


@pytest.mark.parametrize("minimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["photo", "noise"])
def test_optimisation_ends_nearer_to_the_style(
    loss: PerceptualLoss, photo: Tensor, start: str, minimizer: str
) -> None:
    with torch.no_grad():
        before = loss(photo, photo)["total"].item()
    painted = finish(Optimization(loss, photo, 40, start, minimizer))
    assert painted.shape == photo.shape
    assert 0 <= painted.min() < painted.max() <= 1
    with torch.no_grad():
        assert loss(painted, photo)["total"].item() < before / 2


def test_optimisation_goes_on_as_if_it_had_not_stopped(loss: PerceptualLoss, photo: Tensor) -> None:
    whole = finish(Optimization(loss, photo, 8, "noise"))
    for iterations in (3, 10):  # at the coarse size, and at the fine one
        stopped = Optimization(loss, photo, 8, "noise")
        for _ in range(iterations):
            stopped.advance()
        resumed = Optimization(loss, photo, 8, "noise")
        resumed.restore(stopped.state())
        assert resumed.num_iterations == iterations
        assert torch.equal(finish(resumed), whole)


def test_seed_decides_the_noise(loss: PerceptualLoss, photo: Tensor) -> None:
    first, again, other = (
        finish(Optimization(loss, photo, 2, "noise", seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_work_counts_iterations_by_their_cost(loss: PerceptualLoss, photo: Tensor) -> None:
    optimization = Optimization(loss, photo, 4)
    assert optimization.work == 4 / 4 + 2
    optimization.advance()
    assert optimization.work_done == 1 / 4
    finish(optimization)
    assert optimization.work_done == optimization.work


def test_photo_too_small_for_the_pyramid_is_refused(loss: PerceptualLoss) -> None:
    with pytest.raises(ValueError, match="64x20 pixels is too small for 2 pyramid levels"):
        Optimization(loss, torch.rand(1, 3, 20, 64), 1)


@pytest.mark.parametrize(
    ("depth", "style", "content", "num_levels"),
    [
        (7, ["relu1_1", "relu2_1", "relu3_1"], "relu3_3", 3),
        (13, [f"relu{block}_1" for block in range(1, 6)], "relu4_2", 1),
    ],
)
def test_classic_layers_go_as_deep_as_the_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    depth: int,
    style: list[str],
    content: str,
    num_levels: int,
) -> None:
    monkeypatch.setattr("impasto.loss_networks.vgg.CHANNELS", (2,) * 5)
    layers = {7: "relu3_3", 13: "relu5_3"}
    positions = {7: [0, 2, 5, 7, 10, 12, 14], 13: [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]}
    network = VGG("vgg16", [layers[depth]], "random")
    source = {
        f"features.{position}.{name}": tensor
        for position, convolution in zip(positions[depth], network.convolutions, strict=True)
        for name, tensor in convolution.state_dict().items()
    }
    path = tmp_path / "vgg16.pth"
    torch.save(source, path)
    features = find_features("vgg16", str(path))
    assert list(features.style_layers) == style
    assert list(features.content_layers) == [content]
    assert features.num_levels == num_levels


def test_mix_lies_between_its_styles() -> None:
    dark, light = ([{"relu1_1": torch.full((2, 2), level)}] for level in (0.0, 1.0))
    (grams,) = mixed([(dark, 0.25), (light, 0.75)])
    assert torch.equal(grams["relu1_1"], torch.full((2, 2), 0.75))
    (alone,) = mixed([(light, 1.0)])
    assert torch.equal(alone["relu1_1"], light[0]["relu1_1"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("starry_night", [("starry_night", 1.0)]),
        ("a:3,b.jpg:1", [("a", 0.75), ("b.jpg", 0.25)]),
        ("https://example.org/a.jpg", [("https://example.org/a.jpg", 1.0)]),
        ("https://example.org/a.jpg:1,b:1", [("https://example.org/a.jpg", 0.5), ("b", 0.5)]),
    ],
)
def test_styles_come_with_their_shares(text: str, parts: list[tuple[str, float]]) -> None:
    assert optimize.parse_styles(text) == parts


@pytest.mark.parametrize("text", ["a,b", "a:1,b", "a:-1,b:2", "a:0,b:0", "a:nan,b:1"])
def test_several_styles_need_their_weights(text: str) -> None:
    with pytest.raises(ValueError, match="needs a weight of at least 0"):
        optimize.parse_styles(text)


@pytest.mark.parametrize("which", ["photo", "painting", "shown"])
def test_photo_and_painting_are_not_written_over(
    painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    photo = tmp_path / ("a.preview.jpg" if which == "shown" else "photo.png")
    before = painting.read_bytes()
    photo.write_bytes(before)
    output = {"photo": photo, "painting": painting, "shown": tmp_path / "a.png"}[which]
    given = [f"content={photo}", f"style={painting}", "size=64", "style_size=64", "steps=1"]
    assert optimize.main([*given, "runs=off", f"output={output}"]) == 2
    assert "is an input itself" in capsys.readouterr().err
    assert photo.read_bytes() == painting.read_bytes() == before


@pytest.mark.parametrize(
    ("argument", "at_fault"),
    [("runs={}/file/b", "runs={}/file/b"), ("output={}/folder.png", "{}/folder.png")],
)
def test_what_cannot_be_written_is_named(
    painting: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    at_fault: str,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    given = [f"content={painting}", "style=starry_night", "style_size=256", "size=64", "steps=1"]
    given += [f"output={tmp_path}/a.png", "runs=off", argument.format(tmp_path)]
    assert optimize.main(given) == 1
    assert f"Cannot write {at_fault.format(tmp_path)}: " in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [[], None, "a"])
def test_damaged_state_is_told(
    painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: object
) -> None:
    state = tmp_path / "a.png.resume.safetensors"
    write_container(state, {"level": torch.zeros(1)}, {"format_version": 1, "recipe": recipe})
    given = [f"content={painting}", "style=starry_night", "style_size=256", "size=64"]
    assert optimize.main([*given, f"output={tmp_path}/a.png"]) == 2
    assert f"{state} is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nonsense", "look like key=value, such as style=...: got 'nonsense'"),
        ("ckpt=a", "Unknown key 'ckpt': known are content, style"),
        ("steps=many", "steps must be a whole number, got 'many'"),
        ("tv_weight=much", "tv_weight must be a number, got 'much'"),
        ("steps=0", "steps must be at least 1, got 0"),
        ("content_weight=-1", "content_weight must be at least 0"),
        ("optimizer=sgd", "optimizer must be one of lbfgs, adam, got 'sgd'"),
        ("loss_network=vgg11", "loss_network must be one of lite, vgg16, vgg19"),
        ("output=painted", "output must end in one of"),
        ("style=nobody", "No style nobody: give the path or URL of a picture"),
        ("style_size=300", "got style_size=300"),
        ("weights=/nowhere.safetensors", "leave out weights for those of the package"),
        ("content=/nowhere.png", "No picture at /nowhere.png"),
    ],
)
def test_wrong_argument_is_one_line_and_exit_code_2(
    painting: Path, capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert optimize.main([f"content={painting}", "style=starry_night", argument]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_card_needs_the_lite_loss_network(
    painting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["style=starry_night", "loss_network=vgg16", "weights=random"]
    assert optimize.main([f"content={painting}", *arguments]) == 2
    assert "style=PATH" in capsys.readouterr().err


def test_command_paints_what_it_paints_in_two_goes(
    painting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [f"content={painting}", "size=0", "steps=4", "device=cpu", "precision=fp32"]
    arguments += [f"style=starry_night:3,{painting}:1", "style_size=256", "runs=off"]
    whole, parts = tmp_path / "whole.png", tmp_path / "parts.png"
    assert optimize.main([*arguments, f"output={whole}"]) == 0
    assert open_picture(whole).size == (80, 64)

    advance = Optimization.advance

    def interrupted(optimization: Optimization) -> None:
        advance(optimization)
        if optimization.num_iterations == 5:
            easel.signal.raise_signal(easel.signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Optimization, "advance", interrupted)
        assert optimize.main([*arguments, f"output={parts}"]) == 130
    state, preview = tmp_path / "parts.png.resume.safetensors", tmp_path / "parts.preview.jpg"
    assert state.is_file()
    assert preview.is_file()
    assert not parts.exists()
    assert optimize.main([*arguments, "content_weight=1", f"output={parts}"]) == 2  # of another one
    assert optimize.main([*arguments, f"output={parts}"]) == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert not state.exists()
    assert not preview.exists()


def test_opacity_of_the_photo_is_kept(tmp_path: Path) -> None:
    content, output = tmp_path / "photo.png", tmp_path / "painted.png"
    picture = Image.new("RGBA", (48, 40), (200, 100, 50, 255))
    picture.putpixel((3, 4), (0, 0, 0, 128))
    picture.save(content)
    style = tmp_path / "style.png"
    save_image(torch.rand(3, 64, 64), style)
    arguments = [f"content={content}", f"style={style}", "style_size=64", "steps=1", "size=0"]
    runs = tmp_path / "runs"
    assert optimize.main([*arguments, f"output={output}", f"runs={runs}"]) == 0
    painted = open_picture(output)
    assert painted.mode == "RGBA"
    assert painted.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    assert list((runs / "painted").glob("events.*"))


def test_count_of_iterations_is_when_the_value_is_first_reached(
    loss: PerceptualLoss, photo: Tensor
) -> None:
    objective = Objective(loss, photo)
    with torch.no_grad():
        own = loss(photo, photo)["total"].item()
    assert count_iterations(objective, photo, 2 * own, 10) == 0
    assert count_iterations(objective, photo, 0.0, 3) is None
    count = count_iterations(objective, photo, own / 10, 50)
    assert count is not None
    assert count > 1
    assert count_iterations(objective, photo, own / 10, count - 1) is None


def test_what_was_not_reached_counts_as_the_limit() -> None:
    found = summarize([10, 20, 30, 40, None], 100)
    assert (found["median"], found["lower_quartile"], found["upper_quartile"]) == (30, 20, 40)
    assert found["not_reached"] == 1
    assert summarize([None], 100)["median"] == 100
    assert [told(count, 100) for count in (12.5, 100)] == ["12.5", ">= 100"]


def test_unknown_style_needs_its_painting() -> None:
    options = Namespace(paintings=None, style_size=256, content_weight=0.5)
    with pytest.raises(ValueError, match="no card of the style 'nobody': give --paintings"):
        build_loss(find_features("lite"), "nobody", options)


def test_evaluation_of_iterations_repeats_itself(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "night.safetensors"
    torch.manual_seed(0)
    arguments = {"width": 2, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["starry_night"])
    save_checkpoint(checkpoint, TransformerNet(**arguments), header)
    parser = ArgumentParser()
    evaluate_iterations.add_arguments(parser)
    settings = [str(checkpoint), f"--photos={photos}", f"--markdown={tmp_path / 'table.md'}"]
    settings += ["--num-photos=2", "--size=32", "--max-iterations=3"]
    written = [tmp_path / "first.json", tmp_path / "again.json"]
    for path in written:
        evaluate_iterations.run(parser.parse_args([*settings, f"--json={path}"]))
        told = capsys.readouterr().out
    assert written[0].read_bytes() == written[1].read_bytes()
    assert (tmp_path / "table.md").read_text() == told
    assert "| night (starry_night) |" in told
    (row,) = json.loads(written[0].read_text())["checkpoints"]
    assert len(row["from_photo"]["per_photo"]) == len(row["from_noise"]["per_photo"]) == 2
    assert row["network_loss"] > 0


def test_evaluation_of_iterations_is_on_offer() -> None:
    script = Path(evaluate_iterations.__file__).with_name("evaluate.py").read_text()
    assert '"iterations": evaluate_iterations' in script


def test_black_and_white_start_where_logits_move() -> None:
    ends = logits_of(torch.tensor([0.0, 1.0])).sigmoid()
    torch.testing.assert_close(ends, torch.tensor([DARKEST, 1 - DARKEST]))
