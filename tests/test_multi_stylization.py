"""Training many styles at once, and adding one to those that are there."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from impasto.checkpoint import load_checkpoint
from impasto.losses import PerceptualLoss
from impasto.networks import MultiTransformerNet
from impasto.settings import CONFIG_FILE, load_settings
from impasto.styles import CARDS
from impasto.tasks import MultiStylization
from impasto.training import prepare, train

Configure = Callable[[list[str]], DictConfig]


@pytest.fixture
def many(tiny: list[str]) -> list[str]:
    """A training of three styles of the package that takes a few seconds."""
    others = [o for o in tiny if not o.startswith(("loss", "+loss", "style"))]
    return [*others, "model=johnson_multi", "style.names=[starry_night,great_wave,udnie]"]


def named(many: list[str], names: str) -> list[str]:
    others = [option for option in many if not option.startswith("style.names")]
    return [*others, f"style.names=[{names}]"]


class Mean(torch.nn.Module):
    """A loss network that sees the images as they are."""

    def forward(self, images: torch.Tensor, layers: object) -> dict[str, torch.Tensor]:
        return {"same": images}


def test_every_photo_is_compared_with_its_own_painting() -> None:
    targets = torch.rand(4, 3, 3)
    painted, photos = torch.rand(2, 3, 3, 8, 8).unbind()
    weights = ({"same": 1.0}, {"same": 1.0})
    loss = PerceptualLoss(Mean(), [{"same": targets}], *weights)
    parts = loss(painted, photos, torch.tensor([2, 0, 3]), torch.tensor([1.0, 0.5, 0.0]))
    single = [
        PerceptualLoss(Mean(), [{"same": targets[number]}], *weights)(p[None], p[None])["style"]
        for number, p in zip((2, 0, 3), painted, strict=True)
    ]
    torch.testing.assert_close(parts["style"], (single[0] + 0.5 * single[1]) / 3)


def test_no_style_comes_twice_before_all_have_come() -> None:
    torch.manual_seed(0)
    loss = PerceptualLoss(Mean(), [{"same": torch.rand(6, 3, 3)}], {"same": 1.0}, {"same": 1.0})
    network = MultiTransformerNet(3, width=2, num_blocks=1)
    task = MultiStylization(network, loss, rows=[0, 1, 2], stroke_sizes=[256, 512])
    knobs = task.draw_knobs(600)
    assert Counter(knobs.styles.tolist()) == {0: 200, 1: 200, 2: 200}
    assert 100 < (knobs.sizes == 1).sum() < 200  # half of them draw, one of two
    assert 250 < (knobs.strengths == 1).sum() < 350
    assert 0 <= knobs.strengths.min() < 0.1
    assert len(set(task.draw_knobs(2).styles.tolist())) == 2


def test_network_of_three_styles_is_trained_and_goes_on(
    configure: Configure, many: list[str]
) -> None:
    folder = train(configure(many))
    network, header = load_checkpoint(folder / "network.safetensors")
    assert isinstance(network, MultiTransformerNet)
    assert header.styles == ["starry_night", "great_wave", "udnie"]
    assert network.strokes == (256, 512)
    assert (network.style_rows != 0).any(1).all()
    resumed = configure([f"resume={folder}"])
    assert prepare(resumed).folder == folder


def test_run_that_goes_on_ends_with_the_weights_of_one_that_never_stopped(
    configure: Configure, many: list[str], tmp_path: Path
) -> None:
    many = [*many, "task.schedule=constant", "trainer.val_check_interval=2"]
    stopped = train(configure([*many, "trainer.max_steps=4"]))
    OmegaConf.save(load_settings(stopped, ["trainer.max_steps=8"]), stopped / CONFIG_FILE)
    train(configure([f"resume={stopped}"]))
    whole = train(configure([*many, f"run_folder={tmp_path / 'whole'}"]))
    weights = [
        torch.load(folder / "resume.ckpt", weights_only=True)["state_dict"]
        for folder in (stopped, whole)
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


def test_new_style_leaves_the_others_as_they_are(configure: Configure, many: list[str]) -> None:
    base = train(configure(many)) / "network.safetensors"
    added = train(configure([*named(many, "the_scream"), f"init={base}"]))
    before, _ = load_checkpoint(base)
    after, header = load_checkpoint(added / "network.safetensors")
    assert header.styles == ["starry_night", "great_wave", "udnie", "the_scream"]
    assert after.style_rows.shape[0] == 4
    for name, weight in before.state_dict().items():
        assert torch.equal(after.state_dict()[name][: len(weight)], weight), name
    assert not torch.equal(after.style_rows[3], before.style_rows.mean(0))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("starry_night,nothing", "No style 'nothing': there are composition_vii, "),
        ("udnie,udnie", "each once, got udnie, udnie"),
        ("", "each once, got none"),
        ("gone.safetensors", "gone.safetensors"),
    ],
)
def test_wrong_names_are_refused(
    configure: Configure, many: list[str], names: str, message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(configure(named(many, names)))


def test_base_goes_on_as_a_whole_or_learns_new_styles_alone(
    configure: Configure, many: list[str], tmp_path: Path
) -> None:
    base = train(configure([*named(many, "udnie,great_wave"), "trainer.max_steps=1"]))
    init = f"init={base / 'network.safetensors'}"
    for names in ("udnie", "udnie,the_scream"):
        with pytest.raises(ValueError, match="must be all of them, to go on, or new ones alone"):
            prepare(configure([*named(many, names), init]))
    with pytest.raises(ValueError, match="holds another network than model= asks for"):
        prepare(configure([*named(many, "udnie,great_wave"), init, "model.width=4"]))
    goes_on = prepare(configure([*named(many, "great_wave,udnie"), init])).task
    assert isinstance(goes_on, MultiStylization)
    assert goes_on.rows.tolist() == [1, 0]
    assert all(weight.requires_grad for weight in goes_on.network.parameters())


def test_run_goes_on_without_the_files_it_began_with(
    configure: Configure, many: list[str], tmp_path: Path
) -> None:
    base = train(configure([*named(many, "udnie,great_wave"), "trainer.max_steps=1"]))
    init, card = tmp_path / "base.safetensors", tmp_path / "mine.safetensors"
    init.write_bytes((base / "network.safetensors").read_bytes())
    card.write_bytes((CARDS / "the_scream.safetensors").read_bytes())
    options = [*named(many, str(card)), f"init={init}", "trainer.val_check_interval=1"]
    folder = train(configure([*options, "trainer.max_steps=1"]))
    init.unlink()
    card.write_bytes((CARDS / "starry_night.safetensors").read_bytes())
    cfg = configure([f"resume={folder}"])
    run = prepare(cfg)
    assert run.header.styles == ["udnie", "great_wave", "the_scream"]


def test_held_out_photos_take_styles_in_turn_whatever_the_size_of_batches(
    configure: Configure, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt: list[int] = []
    deal = MultiStylization.deal_knobs

    def remember(self: MultiStylization, first: int, count: int) -> object:
        dealt.append(first)
        return deal(self, first, count)

    monkeypatch.setattr(MultiStylization, "deal_knobs", remember)
    options = ["+data.max_val_images=5", "+data.val_fraction=0.3", "data.batch_size=3"]
    train(configure([*named(many, "udnie,great_wave"), *options, "trainer.max_steps=1"]))
    assert dealt[:2] == [0, 3]
    assert set(dealt) == {0, 3}


def test_all_styles_can_be_trained_to_be_steady(configure: Configure, many: list[str]) -> None:
    folder = train(configure([*many, "experiment=video", "trainer.max_steps=1"]))
    _, header = load_checkpoint(folder / "network.safetensors")
    assert header.losses["val/temporal"] > 0
