"""Evaluation of inpainting: fills and figures agree with hand-made ones, runs with each other."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bootstrap import draw_means, interval
from classical_fills import CLASSICAL_FILLS, fill
from evaluate_inpainting import add_arguments, choose_families, draw, require_holes_for, run
from fill_contest import Contest, Outcome, Photo, load_photos
from fill_entrants import Entrant, classical_entrants, load_entrants
from fill_judging import MAX_PSNR, MEASURES, FillJudge, relative_distances
from fill_summary import NAMES, band_of, group, summarize
from fill_tables import label, tables
from impasto.checkpoint import CheckpointError, Header, save_checkpoint
from impasto.data.masks import FAMILIES, draw_mask
from impasto.images import open_picture, save_image
from impasto.networks import ContextEncoderPlus, TransformerNet

SCRIPTS = Path(__file__).parents[1] / "scripts"


class Colours(nn.Module):
    """The colours themselves, for every layer; the last at half size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1), requires_grad=False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        features = dict.fromkeys(layers, self.weight * images)
        features[layers[-1]] = nn.functional.avg_pool2d(self.weight * images, 2)
        return features


def noise(height: int = 20, width: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def hole(height: int = 20, width: int = 24) -> NDArray[np.bool_]:
    """A corner, part of an edge, and a block inside."""
    missing = np.zeros((height, width), np.bool_)
    missing[:3, :4] = missing[8:12, -5:] = missing[10:16, 5:12] = True
    return missing


def photo(number: int, size: int = 32) -> Photo:
    generator = torch.Generator().manual_seed(number)
    levels = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
    return Photo(number, {size: levels})


def grey(levels: Tensor, masks: Tensor) -> Tensor:
    return torch.full_like(levels, 100)


def contest(entrants: Sequence[Entrant], *families: str, cache: Path | None = None) -> Contest:
    chosen = {name: FAMILIES[name] for name in families}
    return Contest(entrants, chosen, FillJudge(Colours()), seed=3, cache=cache)


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_fill_keeps_what_is_known_and_does_not_see_what_is_not(name: str) -> None:
    levels, missing = noise(), hole()
    filled = fill(name, levels, missing)
    assert (filled.dtype, filled.shape) == (np.uint8, levels.shape)
    assert (filled[~missing] == levels[~missing]).all()
    other = np.where(missing[..., None], 255 - levels, levels).astype(np.uint8)
    assert (fill(name, other, missing) == filled).all()


@pytest.mark.parametrize("name", CLASSICAL_FILLS)
def test_flat_photo_is_restored(name: str) -> None:
    flat = np.full((20, 24, 3), (200, 30, 90), np.uint8)
    filled = fill(name, np.where(hole()[..., None], 0, flat).astype(np.uint8), hole())
    assert np.abs(filled.astype(int) - flat).max() <= (2 if name == "telea" else 0)
    assert (fill(name, flat, np.zeros((20, 24), np.bool_)) == flat).all()


def test_mean_fill_is_the_mean_of_what_is_known() -> None:
    levels, missing = noise(), hole()
    assert (
        fill("mean", levels, missing)[0, 0].tolist() == np.rint(levels[~missing].mean(0)).tolist()
    )


def test_harmonic_fill_solves_laplaces_equation() -> None:
    levels, missing = noise(), hole()
    filled = CLASSICAL_FILLS["harmonic"](levels, missing)
    known = np.where(missing[..., None], filled, levels)
    for row, column in np.argwhere(missing):
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [known[y, x] for y, x in around if 0 <= y < 20 and 0 <= x < 24]
        assert filled[row, column] == pytest.approx(np.mean(inside, axis=0))


def test_biharmonic_fill_continues_slopes() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 10, np.uint8)[None, :, None], (20, 24, 3)).copy()
    missing = np.zeros((20, 24), np.bool_)
    missing[5:12, 18:] = True  # to the edge, where a harmonic fill goes flat
    errors = {
        name: np.abs(fill(name, ramp, missing).astype(int) - ramp).max()
        for name in ("harmonic", "biharmonic")
    }
    assert 2 * errors["biharmonic"] < errors["harmonic"]


@pytest.mark.parametrize(
    ("name", "levels", "missing", "message"),
    [
        ("cubic", noise(), hole(), "choose among mean, telea"),
        ("mean", noise(), hole(20, 20), r"got \(20, 24, 3\) and \(20, 20\)"),
        ("mean", noise(), np.ones((20, 24), np.bool_), "nothing is known"),
    ],
)
def test_what_cannot_be_filled_is_refused(
    name: str, levels: NDArray[np.uint8], missing: NDArray[np.bool_], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fill(name, levels, missing)


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(5, 2, (400, 1))
    low, high = interval(draw_means(values, np.arange(400), 0)[:, 0])
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.03)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_several_holes_in_a_photo_make_nothing_surer() -> None:
    values = np.random.default_rng(1).normal(size=(30, 1))
    once = draw_means(values, np.arange(30), 0)
    twice = draw_means(np.concatenate([values, values]), np.tile(np.arange(30), 2), 0)
    assert np.allclose(once, twice)


def test_draws_are_paired_and_repeat_themselves() -> None:
    values = np.random.default_rng(1).normal(size=(30, 1))
    draws = draw_means(np.concatenate([values, values - 0.5], axis=1), np.arange(30), 7)
    assert interval(draws[:, 0] - draws[:, 1]) == pytest.approx((0.5, 0.5))
    again, others = (draw_means(values, np.arange(30), seed) for seed in (7, 8))
    assert np.allclose(draws[:, :1], again)
    assert not np.allclose(draws[:, :1], others)


def test_perceptual_distance_by_hand() -> None:
    targets = {"fine": torch.full((1, 3, 4, 4), 2.0), "coarse": torch.full((1, 1, 2, 2), 1.0)}
    features = {layer: target.clone() for layer, target in targets.items()}
    features["fine"][..., 0, 0] = 3.0  # squares 3 * 1 of 3 * 4 at this position
    features["coarse"][..., 0, 1] = 3.0  # 4 of 1
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., 0, :3] = 1  # of coarse cells a half, and a quarter
    found, everywhere = relative_distances(features, targets, masks)
    assert found.item() == pytest.approx((3 / (3 * 12) + 0.25 * 4 / 0.75) / 2)
    assert everywhere.item() == pytest.approx((3 / (16 * 12) + 4 / 4) / 2)


def test_figures_by_hand() -> None:
    images, masks = torch.full((2, 3, 16, 16), 0.5), torch.zeros(2, 1, 16, 16)
    masks[..., 4:12, 4:12] = 1
    filled = images.clone()
    filled[1:] += 0.1 * masks[1:]
    judge = FillJudge(Colours())
    perfect, wrong = judge(filled, images, masks, judge.features(images))
    figures = dict(zip(MEASURES, perfect.tolist(), strict=True))
    ideals = {"hole_psnr": MAX_PSNR, "full_psnr": MAX_PSNR, "seam": 1}
    ideals |= {"hole_ssim": 1, "full_ssim": 1}
    assert figures == pytest.approx(dict.fromkeys(MEASURES, 0) | ideals)
    figures = dict(zip(MEASURES, wrong.tolist(), strict=True))
    assert (figures["hole_l1"], figures["full_l1"]) == pytest.approx((10, 2.5))
    assert (figures["hole_l2"], figures["full_l2"]) == pytest.approx((1, 0.25))
    assert figures["hole_psnr"] == pytest.approx(20, abs=1e-4)
    assert figures["full_psnr"] == pytest.approx(26.0206, abs=1e-4)
    assert figures["hole_perceptual"] == pytest.approx(0.04)
    assert figures["full_perceptual"] == pytest.approx(0.01)
    assert figures["seam"] == pytest.approx((0.1 + 1 / 255) * 255, rel=1e-4)
    assert figures["hole_ssim"] < figures["full_ssim"] < 1


def test_entrant_does_not_see_the_hole_and_what_is_known_is_put_back() -> None:
    seen = []
    entrant = Entrant("grey", lambda *given: seen.append(given) or grey(*given), "1")
    levels = torch.stack([photo(0).levels[32], photo(1).levels[32]])
    masks = draw_mask(FAMILIES["block"], 32, 32, 0, 0).repeat(2, 1, 1, 1)
    filled = entrant.fill(levels, masks)
    missing = (masks > 0).expand_as(levels)
    assert not seen[0][0][missing].any()
    assert bool((filled[missing] == 100).all())
    assert torch.equal(filled[~missing], levels[~missing])


def test_mask_depends_on_seed_family_and_number_alone() -> None:
    everyone = [photo(number) for number in range(4)]
    judged = contest([], "block", "region")
    masks = judged.draw_masks("region", 32, everyone)
    alone = contest([], "region").draw_masks("region", 32, everyone[2:3])
    assert torch.equal(alone, masks[2:3])
    assert not torch.equal(masks[2], masks[3])
    assert not torch.equal(judged.draw_masks("block", 32, everyone)[2], masks[2])


def test_unreadable_photo_is_skipped_and_changes_no_other_mask(photos: Path) -> None:
    whole, _ = load_photos(photos, 4, [16])
    (photos / "1.png").write_bytes(b"no picture")
    some, skipped = load_photos(photos, 4, [16])
    assert len(skipped) == 1
    assert "1.png" in skipped[0]
    assert [photo.number for photo in some] == [0, 2, 3]
    assert torch.equal(some[1].levels[16], whole[2].levels[16])


def test_limited_network_is_judged_on_what_it_takes_only() -> None:
    limited = Entrant("limited", grey, "1", size=32, centre_only=True)
    judged = contest([limited, Entrant("any", grey, "2")], "centre", "block")
    sizes = {size: photo(0, size).levels[size] for size in (16, 32)}
    outcomes = judged.run([Photo(0, sizes)], [16, 32])
    fields = {(o.size, o.family): list(o.figures) for o in outcomes}
    assert fields.pop((32, "centre")) == ["limited", "any"]
    assert set(map(tuple, fields.values())) == {("any",)}
    # Means over all families would be of other holes than everyone else's.
    for cases in group(outcomes):
        assert ("limited" in cases.figures) == (cases.size == 32 and cases.family == "centre")
    columns = draw(judged, [Photo(0, sizes)], 16, 1)[0]  # hole, limited, any, original
    assert columns.shape == (4, 3, 16, 16)
    assert bool((columns[1] == 1).all())
    with pytest.raises(ValueError, match="limited takes 32 x 32 pixels only and fills holes of"):
        require_holes_for([limited], [16, 32], ["block"])


def test_cached_figures_are_those_measured(tmp_path: Path) -> None:
    photos = [photo(number) for number in range(10)]  # two batches
    calls = []
    entrant = Entrant("grey", lambda *given: calls.append(given) or grey(*given), "1")
    (fresh,) = contest([entrant], "block").run(photos, [32])
    (first,) = contest([entrant], "block", cache=tmp_path).run(photos, [32])
    next(tmp_path.iterdir()).write_bytes(b"damaged")
    calls.clear()
    (second,) = contest([entrant], "block", cache=tmp_path).run(photos, [32])
    assert len(calls) == 1  # the damaged one is measured again
    for outcome in (first, second):
        assert np.array_equal(outcome.figures["grey"], fresh.figures["grey"])
    changed = Entrant("grey", lambda *given: grey(*given) // 2, "2")
    (third,) = contest([changed], "block", cache=tmp_path).run(photos, [32])
    assert not np.array_equal(third.figures["grey"], fresh.figures["grey"])


def test_bands_are_tenths_of_the_picture() -> None:
    shares = np.array([0.05, 0.0999, 0.1, 3 * 0.1, 77 / 256, 0.7, 1.0])
    assert band_of(shares).tolist() == [0, 0, 1, 3, 3, 7, 9]


def outcome(family: str, shares: Sequence[float], **psnr: Sequence[float]) -> Outcome:
    """Figures that are 1 but for PSNR in the hole."""
    figures = {name: np.ones((len(shares), len(NAMES))) for name in psnr}
    for name, values in psnr.items():
        figures[name][:, NAMES.index("hole_psnr")] = values
    return Outcome(32, family, np.arange(len(shares)), np.array(shares), figures)


def test_summary_by_hand() -> None:
    classics = {"telea": [8, 10], "navier_stokes": [9, 11], "biharmonic": [2, 12]}
    first = outcome("centre", [0.25, 0.25], **classics, harmonic=[12, 11], net=[13, 13])
    second = outcome("block", [0.15, 0.25], **classics, harmonic=[12, 11], net=[17, 17])
    groups = [summarize(cases, ["net"], ["telea"], 0) for cases in group([first, second])]
    assert [(g["family"], g["band"], g["photos"], g["cases"]) for g in groups] == [
        ("centre", None, 2, 2),
        ("block", None, 2, 2),
        ("all", None, 2, 4),
        ("all", [10, 20], 1, 1),
        ("all", [20, 30], 2, 3),
    ]
    assert groups[2]["missing"] == pytest.approx(22.5)
    assert groups[2]["methods"]["net"]["hole_psnr"] == {"mean": 15, "low": 15, "high": 15}
    compared = groups[0]["comparisons"]["net"]
    assert compared["best"]["hole_psnr"] == {
        "rival": "navier_stokes",
        "kind": "difference",
        "mean": 3,
        "low": 2,
        "high": 4,
        "sure": True,
    }
    assert compared["harmonic"]["hole_psnr"]["mean"] == 1.5
    assert compared["telea"]["hole_psnr"]["mean"] == 4
    ratio = compared["harmonic"]["hole_perceptual"]
    assert (ratio["kind"], ratio["mean"], ratio["sure"]) == ("ratio", 1, False)


def test_strokes_of_all_widths_are_summed_up_together() -> None:
    widths = {"brush_thin": 2, "brush_medium": 4, "block": 7, "brush_thick": 9}
    groups = group([outcome(family, [0.1], net=[level]) for family, level in widths.items()])
    assert [cases.family for cases in groups] == [*widths, "brush", "all", "all"]
    strokes = groups[len(widths)]
    assert strokes.figures["net"][:, NAMES.index("hole_psnr")].tolist() == [2, 4, 9]
    assert label({"band": None, "family": strokes.family}) == "brush, all widths"
    assert "brush" not in [cases.family for cases in group([outcome("brush_thin", [0.1], net=[1])])]


def test_tables_say_units_and_who_is_best() -> None:
    classics = {"telea": [8, 10], "navier_stokes": [9, 11], "biharmonic": [2, 12]}
    first = outcome("centre", [0.25, 0.25], **classics, harmonic=[12, 11], net=[13, 13])
    second = outcome("block", [0.15, 0.25], **classics, harmonic=[12, 11])
    groups = [summarize(cases, ["net"], [], 0) for cases in group([first, second])]
    lines = tables(groups, ["telea", "net"])
    assert "### hole_psnr, dB" in lines
    assert "### full_l1, %" in lines
    assert "| centre | 25.0 | 2 | 9.00 [8.00, 10.00] | 13.00 [13.00, 13.00] |" in lines
    assert "| block | 20.0 | 2 | 9.00 [8.00, 10.00] | - |" in lines
    (row,) = [line for line in lines if line.startswith("| net | best |")]
    assert row.startswith("| net | best | centre | +3.00 [+2.00, +4.00] navier_stokes |")


def write_checkpoint(path: Path) -> Path:
    torch.manual_seed(0)
    network = ContextEncoderPlus(width=2)
    nn.init.normal_(network.to_correction.weight)
    header = Header("inpainting", "ContextEncoderPlus", {"width": 2}, step=7)
    save_checkpoint(path, network, header)
    return path


def test_checkpoints_are_named_apart_and_others_refused(tmp_path: Path) -> None:
    names = ("a/network", "b/network", "harmonic", "mine")
    paths = [write_checkpoint(tmp_path / f"{name}.safetensors") for name in names]
    loaded = load_entrants(paths, "cpu")
    assert [entrant.name for entrant in loaded] == [*map(str, paths[:3]), "mine"]
    assert loaded[0].origin is not None
    assert loaded[0].origin["step"] == 7
    style, tiny = tmp_path / "style.safetensors", {"width": 2, "num_blocks": 1}
    save_checkpoint(style, TransformerNet(2, 1), Header("stylization", "TransformerNet", tiny))
    with pytest.raises(CheckpointError, match="'stylization', and cannot fill holes"):
        load_entrants([style], "cpu")


def test_harmonic_fill_beats_telea_and_prefill_comes_close() -> None:
    rows, columns = torch.linspace(0, 6, 64)[:, None], torch.linspace(0, 9, 64)
    waves = torch.stack([(rows * scale + columns).sin() for scale in (0.3, 0.6, 1)])
    levels = ((0.4 * waves + 0.5) * 255).round().byte()
    judged = contest(classical_entrants("cpu"), "brush_medium", "block")
    outcomes = judged.run([Photo(number, {64: levels}) for number in range(4)], [64])
    for found in outcomes:
        psnr = {name: f[:, NAMES.index("hole_psnr")].mean() for name, f in found.figures.items()}
        assert psnr["mean"] < psnr["telea"] < psnr["harmonic"]
        assert psnr["prefill"] == pytest.approx(psnr["harmonic"], abs=0.3)


def settings(photos: Path, *arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([f"--photos={photos}", *map(str, arguments)])


def test_families_are_chosen_by_name(tmp_path: Path) -> None:
    assert list(choose_families(settings(tmp_path))) == list(FAMILIES)
    save_image(torch.eye(20).repeat(3, 1, 1), tmp_path / "mask.png")  # all pixels of 16x16 on it
    assert list(choose_families(settings(tmp_path, f"--masks={tmp_path}"))) == [
        *FAMILIES,
        "irregular",
    ]
    chosen = choose_families(settings(tmp_path, "--families", "block", "centre", "--overlap=2"))
    assert list(chosen) == ["block", "centre"]
    assert chosen["centre"](32, 32, np.random.default_rng(0)).sum() == 12 * 12
    with pytest.raises(ValueError, match="come from files: give --masks"):
        choose_families(settings(tmp_path, "--families", "irregular"))
    with pytest.raises(ValueError, match=r"must be among centre, block.*got 'square'"):
        choose_families(settings(tmp_path, "--families", "square"))


def test_command_prints_tables_and_repeats_itself(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "1.png").write_bytes(b"no picture")
    tiny = ["--num-photos=3", "--sizes", 32, 16, "--grid-photos=2"]
    tiny = [write_checkpoint(tmp_path / "net.safetensors"), *tiny]
    paths = [
        [tmp_path / name / f"results{suffix}" for suffix in (".json", ".md", ".png")]
        for name in ("first", "again")
    ]
    first, again = (
        [f"--{kind}={path}" for kind, path in zip(("json", "markdown", "grid"), files, strict=True)]
        for files in paths
    )
    command = [sys.executable, SCRIPTS / "evaluate.py", "inpainting", f"--photos={photos}"]
    done = subprocess.run(
        [str(part) for part in [*command, *tiny, *first]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("evaluate_inpainting.keep_freed_memory", bool)
    run(settings(photos, *tiny, *again, f"--cache={tmp_path / 'cache'}"))
    assert capsys.readouterr().out == done.stdout
    for one, other in zip(*paths, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert done.stdout.startswith(paths[0][1].read_text())
    assert "results.png shows, from left to right: the hole, mean, telea" in done.stdout
    assert "skipped:" in done.stdout
    assert open_picture(paths[0][2]).size == (9 * 36 + 4, 12 * 36 + 4)

    results = json.loads(paths[0][0].read_text())
    assert results["made"]["num_photos"] == 2
    assert list(results["methods"]) == [*CLASSICAL_FILLS, "prefill", "net"]
    assert {group["size"] for group in results["groups"]} == {32, 16}
    whole = next(g for g in results["groups"] if g["family"] == "all" and g["band"] is None)
    assert whole["cases"] == 2 * len(FAMILIES)
    net, harmonic = (whole["methods"][name]["hole_psnr"] for name in ("net", "harmonic"))
    assert net["low"] <= net["mean"] <= net["high"]
    against = whole["comparisons"]["net"]["harmonic"]["hole_psnr"]
    assert against["mean"] == pytest.approx(net["mean"] - harmonic["mean"], abs=2e-6)
