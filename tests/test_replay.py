"""CUDA graphs: what is recorded and replayed when, by a stand-in where there is no GPU."""

import contextlib
import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from impasto.checkpoint import Header
from impasto.inference import Stylizer, replay
from impasto.inference.fused import FusedTransformer
from impasto.inference.replay import MAX_SHAPES, Recording, Replay
from impasto.networks import TransformerNet

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Network:
    """Mirrors photos, and counts how often it is called itself."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.error: Exception | None = None

    def __call__(self, photos: Tensor) -> Tensor:
        self.num_calls += 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return photos.flip(-1)


class Graph:
    """Writes again what a network makes of what it reads."""

    def __init__(self, photos: Tensor, painted: Tensor) -> None:
        self.photos, self.painted, self.num_replays = photos, painted, 0

    def replay(self) -> None:
        self.num_replays += 1
        self.painted.copy_(self.photos.flip(-1))


class Recorder:
    """Stands in for ``record``."""

    def __init__(self) -> None:
        self.made: list[Recording] = []
        self.shared: list[Recording | None] = []
        self.error: Exception | None = None

    def __call__(self, network: object, photos: Tensor, shared: Recording | None) -> Recording:
        if self.error is not None:
            raise self.error
        static, painted = photos.clone(), torch.empty_like(photos)
        self.made.append(Recording(Graph(static, painted), static, painted, None, None))  # type: ignore[arg-type]
        self.shared.append(shared)
        return self.made[-1]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(replay, "record", recorder)
    monkeypatch.setattr(replay, "in_turn", contextlib.nullcontext)
    monkeypatch.setattr(Replay, "_is_off", False)
    return recorder


def photos(width: int, number: int = 0) -> Tensor:
    return torch.rand(1, 3, 4, width, generator=torch.Generator().manual_seed(number))


def test_first_photo_of_a_shape_is_painted_as_ever_and_later_ones_replayed(
    recorder: Recorder,
) -> None:
    network = Network()
    paint = Replay(network)
    for number in range(4):
        assert torch.equal(paint(photos(5, number)), photos(5, number).flip(-1))
    assert network.num_calls == 1
    assert [made.graph.num_replays for made in recorder.made] == [3]


def test_paintings_do_not_change_when_others_are_painted(recorder: Recorder) -> None:
    paint = Replay(Network())
    paintings = [paint(photos(5, number)) for number in range(4)]
    for number, painted in enumerate(paintings):
        assert torch.equal(painted, photos(5, number).flip(-1))


def test_only_the_last_shapes_are_known_and_share_memory(recorder: Recorder) -> None:
    network = Network()
    paint = Replay(network)
    for width in range(1, MAX_SHAPES + 1):
        paint(photos(width))
        paint(photos(width))
    assert len(recorder.made) == MAX_SHAPES
    assert recorder.shared == [None, *[recorder.made[0]] * (MAX_SHAPES - 1)]
    paint(photos(MAX_SHAPES + 1))  # the first one goes
    assert network.num_calls == MAX_SHAPES + 1
    paint(photos(2))
    assert network.num_calls == MAX_SHAPES + 1
    paint(photos(1))
    assert network.num_calls == MAX_SHAPES + 2
    assert len(recorder.made) == MAX_SHAPES


def test_more_shapes_in_turn_than_are_known_are_never_recorded(recorder: Recorder) -> None:
    paint = Replay(Network())
    for width in list(range(1, MAX_SHAPES + 2)) * 3:
        paint(photos(width))
    assert recorder.made == []


def test_large_photos_are_not_recorded(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_PIXELS", 20)
    paint = Replay(Network())
    for width in (6, 6, 5, 5):
        paint(photos(width))
    assert [made.photos.shape[-1] for made in recorder.made] == [5]


def test_failure_to_record_is_said_once_and_painting_goes_on(recorder: Recorder) -> None:
    recorder.error = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GB.")
    paint = Replay(Network())
    paint(photos(5))
    with pytest.warns(UserWarning, match=r"without CUDA graphs: CUDA out of memory\.$"):
        assert torch.equal(paint(photos(5)), photos(5).flip(-1))
    recorder.error = None
    other = Replay(Network())
    for again in (paint, paint, other, other):  # warnings are errors
        assert torch.equal(again(photos(5)), photos(5).flip(-1))
    assert recorder.made == []


def test_where_memory_runs_out_recordings_give_theirs_back(recorder: Recorder) -> None:
    network = Network()
    paint = Replay(network)
    network.error = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(torch.OutOfMemoryError):  # there is none to give back
        paint(photos(9))
    paint(photos(5))
    paint(photos(5))
    network.error = torch.OutOfMemoryError("CUDA out of memory.")
    assert torch.equal(paint(photos(8)), photos(8).flip(-1))
    network.num_calls = 0
    paint(photos(5))
    assert network.num_calls == 1


def test_threads_do_not_get_each_others_paintings(recorder: Recorder) -> None:
    paint = Replay(Network())
    with ThreadPoolExecutor(8) as pool:
        paintings = list(pool.map(lambda number: paint(photos(5 + number % 2, number)), range(200)))
    for number, painted in enumerate(paintings):
        assert torch.equal(painted, photos(5 + number % 2, number).flip(-1))
    assert len(recorder.made) == 2


def test_copies_have_nothing_recorded(recorder: Recorder) -> None:
    paint = Replay(Network())
    paint(photos(5))
    paint(photos(5))
    for twin in (copy.deepcopy(paint), pickle.loads(pickle.dumps(paint))):
        before = twin.network.num_calls
        twin(photos(5))
        assert twin.network.num_calls == before + 1


def test_nothing_is_replayed_on_the_cpu(recorder: Recorder) -> None:
    stylizer = Stylizer(*tiny(), "cpu")
    for _ in range(3):
        stylizer(photos(5))
    assert recorder.made == []


def tiny() -> tuple[TransformerNet, Header]:
    torch.manual_seed(0)
    arguments = {"width": 4, "num_blocks": 1}
    return TransformerNet(**arguments), Header("stylization", "TransformerNet", arguments, ["none"])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_gpu_replays_what_it_paints(precision: str) -> None:
    stylizer = Stylizer(*tiny(), "cuda", precision)
    network = stylizer.network
    assert isinstance(network, FusedTransformer)
    for size in ((2, 40, 56), (1, 64, 64), (1, 33, 7)) * 3:
        images = torch.rand(size[0], 3, *size[1:], device="cuda")
        with torch.inference_mode():
            expected = network(images)
        torch.testing.assert_close(stylizer(images), expected, rtol=0, atol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_gpu_replays_in_threads_and_streams_of_their_own() -> None:
    stylizer = Stylizer(*tiny(), "cuda", "fp32")
    images = torch.rand(40, 3, 64, 64, device="cuda")
    with torch.inference_mode():
        expected = torch.cat([stylizer.network(image[None]) for image in images])
    torch.cuda.synchronize()

    def paint(image: Tensor) -> Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            painted = stylizer(image)
            torch.cuda.current_stream().synchronize()
            return painted

    with ThreadPoolExecutor(4) as pool:
        painted = torch.stack(list(pool.map(paint, images)))
    torch.testing.assert_close(painted, expected, rtol=0, atol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_gpu_paints_on_without_graphs_where_recording_fails() -> None:
    # In a process of its own, which may believe for ever that the recording goes on.
    code = """
import warnings, torch
from impasto.inference.replay import Replay

paint = Replay(lambda photos: photos * float(photos.mean()))  # it waits, which no graph can hold
image = torch.rand(1, 3, 8, 8, device="cuda")
expected = paint(image)
with warnings.catch_warnings(record=True) as caught:
    assert torch.equal(paint(image), expected)
assert "without CUDA graphs" in str(caught[0].message)
assert torch.equal(paint(image), expected)
assert torch.cuda.current_stream() == torch.cuda.default_stream()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
