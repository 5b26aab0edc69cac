"""Data sets of the Hugging Face hub, and folders of Parquet files: which files make up a split."""

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

TIMEOUT = 8  # seconds to wait for the hub's first answer
DEADLINE = 12  # seconds for all of it: looking up the name may take any time, and has no timeout
HUB_FILE = re.compile(r"hf://datasets/(?P<name>[^@]+)@(?P<revision>[^/]+)/(?P<path>.+)")


def find_files(
    repository: str,
    splits: Sequence[str],
    revision: str | None = None,
    subset: str | None = None,
    streaming: bool = True,
) -> dict[str, list[str]]:
    """Find the Parquet files of some splits, as ``datasets`` would.

    Args:
        repository: ``owner/name`` on the hub, or a folder.
        splits: Their names.
        revision: Commit, branch or tag on the hub; ``None`` for the latest.
        subset: Where there are several; ``None`` for the default one.
        streaming: Whether to leave files where they are; else they are downloaded into the cache,
            which also serves without network.

    Returns:
        Paths or URLs, by split.

    Raises:
        ConnectionError: If the hub cannot be reached.
        ValueError: If there is no such data set or split, it is gated or not made of Parquet
            files, or ``datasets`` is not installed.
    """
    folder = Path(repository).expanduser()
    if folder.is_dir():
        return _list_local_files(str(folder.absolute()), splits, subset)
    try:
        _ask_hub(repository, revision)
    except ConnectionError:
        if streaming or (cached := _find_cached(repository, revision)) is None:
            raise
        return _list_local_files(cached, splits, subset)
    files = _list_files(repository, splits, revision, subset)
    place = _url if streaming else _download
    return {split: [place(file) for file in files[split]] for split in splits}


def _list_local_files(path: str, splits: Sequence[str], subset: str | None) -> dict[str, list[str]]:
    files = _list_files(path, splits, None, subset)
    for name in (name for split in splits for name in files[split]):
        if "://" in name:
            raise ValueError(f"data.repository={path} names a file that is not in it, {name}.")
    return files


def _list_files(
    path: str, splits: Sequence[str], revision: str | None, subset: str | None
) -> dict[str, list[str]]:
    datasets = _import_datasets()
    try:
        builder = datasets.load_dataset_builder(path, subset, revision=revision)
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
        raise ValueError(f"data.repository={path} cannot be used: {reason}.") from error
    found = {str(split): list(files) for split, files in (builder.config.data_files or {}).items()}
    if not all(file.endswith(".parquet") for files in found.values() for file in files):
        raise ValueError(
            f"{path} is not made of Parquet files. Of most data sets the hub keeps a copy that is: "
            f"data.revision=refs/convert/parquet. For picture files take data=folder data.path=..."
        )
    for split in splits:
        if split not in found:
            raise ValueError(
                f"data.train_split and data.val_split must be among {', '.join(found)}, "
                f"got {split}."
            )
    return {split: found[split] for split in splits}


def _ask_hub(repository: str, revision: str | None) -> None:
    """Ask once whether all is well: ``datasets`` would try again for half a minute."""
    endpoint = _import_datasets().config.HF_ENDPOINT
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi(endpoint=endpoint)
    ask = partial(api.dataset_info, repository, revision=revision, timeout=TIMEOUT)
    try:
        _call_within(DEADLINE, ask)
    except GatedRepoError as error:
        raise ValueError(
            f"{repository} is gated: ask for access at {endpoint}/datasets/{repository} and log in "
            f"with `hf auth login`, or train on other photos, data=folder data.path=..."
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(
            f"{repository} has no revision {revision}: set data.revision to a commit, branch or "
            f"tag, or to null."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(
            f"There is no data set {repository}, neither on the hub nor as a folder: give "
            f"data.repository=owner/name; for a private one, log in with `hf auth login`."
        ) from error
    except Exception as error:  # of the library that huggingface_hub fetches with
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConnectionError(
            f"The Hugging Face hub cannot be reached for {repository} ({reason}): check the "
            f"network, or train without it on data=sample, or on data=folder data.path=..."
        ) from error


def _call_within(seconds: float, call: Callable[[], Any]) -> Any:
    """Call in a thread that is left behind when it takes too long."""
    future = Future[Any]()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:  # since Python 3.11 also that of futures
        raise TimeoutError(str(error) or f"no answer within {seconds} seconds") from error


def _find_cached(repository: str, revision: str | None) -> str | None:
    """The folder of a data set that was downloaded before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(
            repository, repo_type="dataset", revision=revision, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None


def _url(file: str) -> str:
    from huggingface_hub import hf_hub_url

    name, revision, path = _parts(file)
    endpoint = _import_datasets().config.HF_ENDPOINT
    return hf_hub_url(name, path, repo_type="dataset", revision=revision, endpoint=endpoint)


def _download(file: str) -> str:
    from huggingface_hub import hf_hub_download

    name, revision, path = _parts(file)
    endpoint = _import_datasets().config.HF_ENDPOINT
    return hf_hub_download(name, path, repo_type="dataset", revision=revision, endpoint=endpoint)


def _parts(file: str) -> Sequence[str]:
    found = HUB_FILE.fullmatch(file)
    if found is None:
        raise ValueError(f"Files of the hub are hf://datasets/NAME@REVISION/PATH, got {file}.")
    return found.group("name", "revision", "path")


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "Data sets of the hub need the extra `data`: pip install 'impasto[data]'."
        ) from error
    return datasets
