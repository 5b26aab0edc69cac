"""Generated scenes: reproducible, held apart, and with the statistics of photos."""

import numpy as np
import pytest
import torch

from impasto.data import SampleScenes


def scenes(count: int = 24, size: int = 128) -> torch.Tensor:
    source = SampleScenes(image_size=size, seed=3)
    return torch.stack([source.train[number].image for number in range(count)]).float() / 255


@pytest.mark.parametrize("size", [16, 33, 256])
def test_scenes_are_bytes_of_the_wanted_size(size):
    image = SampleScenes(image_size=size).train[0].image
    assert image.dtype == torch.uint8
    assert image.shape == (3, size, size)


def test_a_scene_depends_on_seed_and_number_alone():
    first, second = SampleScenes(64, seed=1).train, SampleScenes(64, seed=1).train
    second[5]
    assert torch.equal(first[7].image, second[7].image)
    assert not torch.equal(first[7].image, first[8].image)
    assert not torch.equal(first[7].image, SampleScenes(64, seed=2).train[7].image)


def test_held_out_scenes_are_the_same_for_every_seed_and_never_trained_on():
    first, second = SampleScenes(32, num_val_images=3, seed=0), SampleScenes(32, 3, seed=1)
    assert len(first.val) == 3
    trained = {first.train[number].image.numpy().tobytes() for number in range(50)}
    for index in range(3):
        assert torch.equal(first.val[index].image, second.val[index].image)
        assert first.val[index].image.numpy().tobytes() not in trained


def test_scenes_are_dark_and_bright_and_never_empty():
    images = scenes()
    brightness = images.mean((1, 2, 3))
    assert brightness.min() < 0.35
    assert brightness.max() > 0.55
    assert (images.std((1, 2, 3)) > 0.03).all()


def test_colour_channels_go_together_as_in_photos():
    correlations = [np.corrcoef(image.reshape(3, -1).numpy())[0, 1] for image in scenes()]
    assert np.median(correlations) > 0.8


def test_power_spectrum_falls_like_that_of_photos():
    images = scenes(size=256).mean(1)
    window = torch.hann_window(256)
    power = torch.fft.fft2((images - images.mean((1, 2), keepdim=True)) * window * window[:, None])
    power = power.abs().square()
    cycles = torch.fft.fftfreq(256) * 256
    radius = torch.hypot(cycles, cycles[:, None])
    bands = [(4, 8), (8, 16), (16, 32), (32, 64), (64, 128)]
    means = [
        power[:, (radius >= low) & (radius < high)].mean(1).log().mean() for low, high in bands
    ]
    slope = np.polyfit(np.log2([low for low, _ in bands]), np.array(means) / np.log(2), 1)[0]
    assert -3.2 < slope < -2.0  # photos of the same size have about -2.7


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        SampleScenes(image_size=8)


def test_pieces_are_the_scene_cut_up() -> None:
    scenes = SampleScenes(image_size=64, seed=3).train
    pieces = SampleScenes(image_size=64, crop_size=32, seed=3).train
    top, bottom = (
        torch.cat([pieces[turns * 4 + 2].image for turns in row], dim=2) for row in ((0, 1), (2, 3))
    )
    assert torch.equal(torch.cat([top, bottom], dim=1), scenes[2].image)


def test_pieces_of_a_batch_are_of_different_scenes_whatever_came_before() -> None:
    pieces = SampleScenes(image_size=64, crop_size=32, seed=3).train
    scenes = SampleScenes(image_size=64, seed=3).train
    for number in (37, 3, 21):  # 16 pieces make a block of four scenes
        block, place = divmod(number, 16)
        scene = scenes[4 * block + place % 4].image
        row, column = divmod(place // 4, 2)
        expected = scene[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert torch.equal(pieces[number].image, expected)


@pytest.mark.parametrize("crop_size", [0, 65])
def test_crop_out_of_range_is_refused(crop_size: int) -> None:
    with pytest.raises(ValueError, match="crop_size must be from 1 to image_size, which is 64"):
        SampleScenes(image_size=64, crop_size=crop_size)
