"""Downloads: whole, within limits, from the web alone, and nothing stays on the disk."""

import socket
import tempfile
from pathlib import Path

import pytest

from conftest import Website
from impasto.download import CHUNK, downloaded, is_url


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads lie for as long as they are needed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refused(url: str, message: str, max_bytes: int = 1 << 20) -> None:
    with pytest.raises(ValueError, match=message), downloaded(url, max_bytes):
        pass


def test_file_lasts_as_long_as_it_is_needed(website: Website, temporary: Path) -> None:
    website.pages["/a.jpg"] = bytes(range(256)) * 1000
    with downloaded(f"{website.url}/a.jpg") as path:
        assert path.read_bytes() == website.pages["/a.jpg"]
    assert list(temporary.iterdir()) == []


def test_file_goes_when_its_user_fails(website: Website, temporary: Path) -> None:
    website.pages["/a.jpg"] = b"no picture"
    with pytest.raises(KeyError), downloaded(f"{website.url}/a.jpg"):
        raise KeyError
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("told", [True, False])
def test_larger_file_is_refused_whether_its_size_is_told_or_not(
    website: Website, temporary: Path, told: bool
) -> None:
    website.pages["/a.jpg"] = bytes(10 * CHUNK)
    if told:
        website.headers["/a.jpg"] = {"Content-Length": str(10 * CHUNK)}
    refused(f"{website.url}/a.jpg", "could not be downloaded .*larger than", 5 * CHUNK)
    assert list(temporary.iterdir()) == []


def test_file_of_the_largest_size_is_taken(website: Website) -> None:
    website.pages["/a.jpg"] = bytes(3 * CHUNK)
    with downloaded(f"{website.url}/a.jpg", 3 * CHUNK) as path:
        assert path.stat().st_size == 3 * CHUNK


def test_download_that_breaks_off_is_refused(website: Website) -> None:
    website.pages["/a.jpg"] = b"half of it"
    website.headers["/a.jpg"] = {"Content-Length": "20"}
    refused(f"{website.url}/a.jpg", "could not be downloaded")


def test_download_that_takes_too_long_is_refused(
    website: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.download.DEADLINE", 0.0)
    website.pages["/a.jpg"] = bytes(10)
    refused(f"{website.url}/a.jpg", "could not be downloaded .*it takes longer than 0 minutes")


def test_missing_page_is_told(website: Website, temporary: Path) -> None:
    refused(f"{website.url}/nowhere.jpg", r"nowhere.jpg could not be downloaded .*404")
    assert list(temporary.iterdir()) == []


def test_redirection_is_followed(website: Website) -> None:
    website.pages["/there.jpg"] = b"picture"
    website.codes["/a.jpg"] = 302
    website.headers["/a.jpg"] = {"Location": "/there.jpg"}
    with downloaded(f"{website.url}/a.jpg") as path:
        assert path.read_bytes() == b"picture"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "data:,secret"])
def test_redirection_away_from_the_web_is_refused(
    website: Website, temporary: Path, target: str
) -> None:
    website.codes["/a.jpg"] = 302
    website.headers["/a.jpg"] = {"Location": target}
    refused(f"{website.url}/a.jpg", "a.jpg could not be downloaded")
    assert list(temporary.iterdir()) == []


def test_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as nobody:  # bound, but not listening
        nobody.bind(("127.0.0.1", 0))
        refused(f"http://127.0.0.1:{nobody.getsockname()[1]}/a.jpg", "check the address")


@pytest.mark.parametrize(
    "address", ["a.jpg", "", "file:///etc/passwd", "ftp://127.0.0.1/a.jpg", "HTTP:a.jpg"]
)
def test_what_is_no_url_is_refused(address: str) -> None:
    assert not is_url(address)
    refused(address, r"must start with http\(s\)://")


@pytest.mark.parametrize("address", ["http://", "http://[", "http://127.0.0.1:port/", "http://a b"])
def test_broken_url_is_refused(address: str) -> None:
    assert is_url(address)
    refused(address, "could not be downloaded")


def test_path_is_no_url() -> None:
    assert not is_url(Path("http://a.jpg"))
    assert is_url("HTTPS://museum.org/a.jpg")
