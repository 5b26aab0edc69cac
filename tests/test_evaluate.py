"""Evaluation: the judge agrees with sums done by hand, and the command with itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evaluate_style import find_baselines, load_networks, load_photos
from impasto.checkpoint import Header, save_checkpoint
from impasto.images import load_image, open_picture, save_image
from impasto.loss_networks import VGG
from impasto.networks import TransformerNet
from impasto.styles import load_painting
from judging import CONTENT_LAYER, STYLE_LAYERS, Judge, measure, spearman

SCRIPTS = Path(__file__).parents[1] / "scripts"
LAYERS = [*STYLE_LAYERS, CONTENT_LAYER]


class Constant(nn.Module):
    """One channel, the sum of the colours, for every layer: Gram matrices are mean squares."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1), requires_grad=False)

    def forward(self, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
        return {layer: (self.weight * images).sum(1, keepdim=True) for layer in layers}


@pytest.fixture
def judge(painting: Path) -> Judge:
    torch.manual_seed(0)
    return Judge(VGG("vgg19", LAYERS, "random"), [load_painting(painting, 64)])


def write_checkpoint(path: Path, style: str = "painting", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    arguments = {"width": 2, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, [style])
    save_checkpoint(path, TransformerNet(**arguments), header)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "network.safetensors")


def evaluate(*arguments: object, photos: Path) -> subprocess.CompletedProcess[str]:
    settings = [f"--photos={photos}", f"--paintings={photos.parent / 'paintings'}"]
    tiny = ["--teacher=random", "--size=32", "--num-photos=5"]
    command = [sys.executable, SCRIPTS / "evaluate.py", "style", *arguments, *settings, *tiny]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def paintings(painting: Path) -> Path:
    folder = painting.parent / "paintings"
    folder.mkdir()
    painting.rename(folder / painting.name)
    save_image(torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(2)), folder / "b.png")
    return folder


def test_painting_is_at_no_distance_from_itself(judge: Judge, painting: Path) -> None:
    style, _ = judge(load_image(painting))
    assert style.item() == 0


def test_style_distance_by_hand() -> None:
    # Sums 3 * 0.5 and 3 * 0.25 a pixel: Gram "matrices" 2.25 and 0.5625 at both levels.
    judge = Judge(Constant(), [torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), 0.25)])
    style, content = judge(torch.cat([torch.full((1, 3, 8, 8), 0.25), torch.zeros(1, 3, 8, 8)]))
    assert torch.allclose(style, torch.tensor([[(1.6875 / 2.25) ** 2, 1.0], [0.0, 1.0]]))
    assert torch.equal(content[0], torch.full((1, 8, 8), 0.75))


def test_half_size_counts_as_much_as_full_size() -> None:
    # Stripes of 1 and 0, a pixel wide, halve to grey: mean squares 9 / 2, then 9 / 4.
    stripes = torch.tensor([1.0, 0.0]).repeat(16).expand(1, 3, 32, 32)
    judge = Judge(Constant(), [torch.ones(1, 3, 32, 32)])
    style, _ = judge(stripes)
    assert style.item() == pytest.approx((0.5**2 + 0.75**2) / 2)


def test_photos_are_judged_one_by_one(judge: Judge, photos: Path) -> None:
    images, skipped = load_photos(photos, 5, 32)
    (own,) = measure([judge], [], images)
    assert images.shape == (5, 3, 32, 32)
    assert not skipped
    for number, image in enumerate(images):
        assert own.style[0, 0, number].item() == pytest.approx(judge(image[None])[0].item(), 1e-4)


def test_photo_left_alone_has_lost_no_content(judge: Judge, photos: Path) -> None:
    images, _ = load_photos(photos, 5, 32)
    own, alone, erased = measure([judge], [lambda batch: batch, torch.zeros_like], images)
    assert alone.content.tolist() == [0] * 5
    assert torch.equal(alone.style, own.style)
    assert bool((erased.content > 0).all())


def test_content_distance_by_hand() -> None:
    judge = Judge(Constant(), [torch.ones(1, 3, 32, 32)])
    photos = torch.cat([torch.full((1, 3, 8, 8), level) for level in (0.5, 1.0)])
    _, painted = measure([judge], [lambda batch: batch - 0.25], photos)
    assert painted.content.tolist() == pytest.approx([0.25, 0.0625])


def test_unreadable_photo_is_skipped_and_told(photos: Path) -> None:
    (photos / "0.png").write_bytes(b"no picture")
    images, skipped = load_photos(photos, 3, 32)
    assert len(images) == 2
    assert "0.png" in skipped[0]


def test_ranks_of_a_monotone_function_correlate() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert spearman(values, values.exp() - 3) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)


def test_rank_correlation_by_hand() -> None:
    # 1 - 6 * sum of squared rank differences / (n (n^2 - 1)), of ranks 1 2 3 4 and 2 1 4 3
    correlation = spearman(torch.tensor([1.0, 2, 3, 4]), torch.tensor([20.0, 10, 99, 30]))
    assert correlation == pytest.approx(1 - 6 * 4 / 60)


def test_baseline_of_the_same_style_must_be_one(checkpoint: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other.safetensors", style="other")
    networks, baselines = load_networks([checkpoint], "cpu"), load_networks([other], "cpu")
    with pytest.raises(ValueError, match="needs one baseline of the style 'painting'"):
        find_baselines(networks, baselines)


def test_command_prints_a_table_and_repeats_itself(
    checkpoint: Path, paintings: Path, photos: Path, tmp_path: Path
) -> None:
    second = write_checkpoint(tmp_path / "second.safetensors", seed=1)
    written = [tmp_path / "first.json", tmp_path / "again.json"]
    extras = ["--rank", "--lite=random", f"--grid={tmp_path / 'grid.png'}", "--grid-photos=3"]
    for path in written:
        outputs = [f"--json={path}", f"--markdown={tmp_path / 'table.md'}"]
        done = evaluate(checkpoint, second, "--baseline", second, *extras, *outputs, photos=photos)
        assert done.returncode == 0, done.stderr
    assert written[0].read_bytes() == written[1].read_bytes()
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        f"| painting, {checkpoint}",
        f"| painting, {second}",
        "| mean",
    ]
    assert (tmp_path / "table.md").read_text() == done.stdout

    results = json.loads(written[0].read_text())
    first, baseline = results["checkpoints"]
    assert first["relative"] == pytest.approx(first["style"] / first["own"])
    assert first["objective"] == pytest.approx(first["style"] + 0.3 * first["content"])
    assert baseline["ratio"] == 1
    assert results["mean"]["ratio"] == pytest.approx((first["ratio"] + 1) / 2)
    assert results["rank"]["pairs"] == 2 * (5 + 2 * 5)  # paintings, photos, painted photos
    assert open_picture(tmp_path / "grid.png").size == (4 * 36 + 4, 3 * 36 + 4)


def test_missing_painting_is_one_line_and_exit_code_2(
    checkpoint: Path, paintings: Path, photos: Path
) -> None:
    (paintings / "painting.png").unlink()
    done = evaluate(checkpoint, photos=photos)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "'painting'" in done.stderr
    assert "b.png" in done.stderr
