"""What of a data set is still to be painted, in parts that actors of stylize_dataset.py take."""

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_painter import WORK, Job
from dataset_photo import encode_name, picture_leaf
from dataset_store import Store
from impasto.images import IMAGE_SUFFIXES, SAVED_SUFFIXES
from impasto.painting import one_line

RECIPE = ".impasto.json"
NUM_CONNECTIONS = 16  # footers asked for at once
FILES_PER_PART = 32  # what is painted again where an actor is lost
MAX_PARTS = 10_000  # Ray keeps track of every one
PARTS_PER_ACTOR = 4  # at least, so that actors end at about the same time


class Item(NamedTuple):
    """A photo to be painted; see ``Photo``.

    Args:
        source: Its file.
        group: Row group and row, where that is a Parquet file.
        row: Counted from the start of the file.
        name: Of the painting.
    """

    source: str
    group: int | None
    row: int | None
    name: str


@dataclass(frozen=True)
class Plan:
    """What there is, and what is missing.

    Args:
        num_photos: In all.
        num_missing: Of those, not painted yet.
        parts: Arrow tables as ``WORK`` says.
    """

    num_photos: int
    num_missing: int
    parts: list[Any]


def make_plan(job: Job, num_actors: int) -> Plan:
    """Compare photos with paintings.

    Args:
        job: What to do.
        num_actors: Who shall have something to do.

    Raises:
        FileNotFoundError: If there are no photos.
        OSError: If a storage cannot be read.
        ValueError: If there are pictures and Parquet files, or the column is missing.
    """
    num_photos, items = find_items(job)
    done = find_done(job)
    part_size = job.shard_size if job.format == "parquet" else FILES_PER_PART
    part_size = min(part_size, -(-num_photos // (PARTS_PER_ACTOR * num_actors)))
    part_size = max(part_size, -(-num_photos // MAX_PARTS))
    parts = list(cut((item for item in items if item.name not in done), part_size))
    return Plan(num_photos, sum(len(part) for part in parts), parts)


def find_items(job: Job) -> tuple[int, Iterator[Item]]:
    """List all photos.

    Args:
        job: What to do.

    Returns:
        How many there are; and they, with the names of their paintings.
    """
    pictures, tables = find_files(job.photos, job.paintings)
    if pictures and tables:
        raise ValueError(
            f"{job.photos.url} holds pictures, such as {pictures[0]}, and Parquet files, such as "
            f"{tables[0]}: give a folder with only one of both."
        )
    if tables:
        footers = read_footers(job.photos, tables, job.column)
        return sum(footer.num_rows for footer in footers), _row_items(tables, footers, job.format)
    if not pictures:
        raise FileNotFoundError(
            f"{job.photos.url} holds no photos: a folder with picture files or Parquet files is "
            f"needed."
        )
    names = name_paintings(pictures, job.format)
    items = (Item(file, None, None, name) for file, name in zip(pictures, names, strict=True))
    return len(pictures), items


def find_files(photos: Store, paintings: Store) -> tuple[list[str], list[str]]:
    """List the files of a folder, but hidden ones, and paintings in it.

    Returns:
        Names of pictures and of Parquet files, sorted.
    """
    inner = ""
    if photos.files == paintings.files and paintings.root.startswith(f"{photos.root}/"):
        inner = paintings.root[len(photos.root) + 1 :] + "/"
    pictures, tables = [], []
    for name, _ in photos.walk():
        base = posixpath.basename(name)
        if base.startswith(".") or (inner and name.startswith(inner)):
            continue
        suffix = posixpath.splitext(base)[1].lower()
        if suffix in IMAGE_SUFFIXES:
            pictures.append(name)
        elif suffix == ".parquet":
            tables.append(name)
    return sorted(pictures), sorted(tables)


def read_footers(photos: Store, tables: list[str], column: str) -> list[Any]:
    """Find out what Parquet files hold, without reading it.

    Raises:
        ValueError: If one is damaged, or has no such column.
    """

    def read(name: str) -> Any:
        try:
            with photos.files.open(photos.path(name), "rb") as file:
                footer = pq.read_metadata(file)
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{name} cannot be read as a Parquet file ({reason}): remove it, or make it again."
            ) from None
        picture_leaf(footer.schema.to_arrow_schema(), column)
        return footer

    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        return list(pool.map(read, tables))


def name_paintings(pictures: list[str], format_name: str) -> list[str]:
    """Name paintings after photos, with the suffix of their format.

    Photos that differ in nothing but their suffix, and would become one, keep it: ``a.jpg`` and
    ``a.png`` become ``a.jpg.webp`` and ``a.png.webp``.

    Args:
        pictures: Names of files.
        format_name: A suffix, ``keep``, or ``parquet``, where they are called as the photos are.

    Raises:
        ValueError: If two would still become one.
    """
    if format_name == "parquet":
        return [one_line(name) for name in pictures]  # there, names are text

    def suffix_of(suffix: str) -> str:
        if format_name != "keep":
            return f".{format_name}"
        return suffix if suffix.lower() in SAVED_SUFFIXES else ".png"

    names = [str(p.with_suffix(suffix_of(p.suffix))) for p in map(PurePosixPath, pictures)]
    counts = Counter(names)
    names = [
        name if counts[name] == 1 else picture + PurePosixPath(name).suffix
        for picture, name in zip(pictures, names, strict=True)
    ]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"Two photos would both become {doubled[0]}: rename one of them.")
    return names


def _row_items(tables: list[str], footers: list[Any], format_name: str) -> Iterator[Item]:
    suffix = {"parquet": "", "keep": ".jpg"}.get(format_name, f".{format_name}")
    for table, footer in zip(tables, footers, strict=True):
        folder = table.removesuffix(".parquet")
        if format_name == "parquet":
            folder = one_line(folder)
        row = 0
        for group in range(footer.num_row_groups):
            for _ in range(footer.row_group(group).num_rows):
                yield Item(table, group, row, f"{folder}/{row:08}{suffix}")
                row += 1


def find_done(job: Job) -> set[str]:
    """Find out which paintings there are, and remove what is left of writers that were killed.

    Raises:
        OSError: If they cannot be read.
        ValueError: If something else lies there.
    """
    done, tables = set(), []
    for name, about in job.paintings.walk():
        if posixpath.basename(name).startswith("."):
            job.paintings.sweep(name, about)
        elif name.endswith(".parquet"):
            tables.append(name)
        else:
            done.add(name)
    if job.format != "parquet":
        return done
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        return {name for part in pool.map(lambda t: _names_in(job, t), tables) for name in part}


def _names_in(job: Job, table: str) -> list[str]:
    try:
        with job.paintings.files.open(job.paintings.path(table), "rb") as file:
            return pq.read_table(file, columns=["name"]).column(0).to_pylist()
    except (pa.ArrowException, IndexError) as error:
        raise ValueError(
            f"{job.paintings.url}/{table} is none of these Parquet files of paintings ({error}): "
            f"give another folder."
        ) from None


def cut(items: Iterable[Item], part_size: int) -> Iterator[Any]:
    """Cut the work into parts; row groups, which are read at once, stay together.

    Args:
        items: In the order of their files.
        part_size: Photos in a part, at least, but for the last.

    Returns:
        Arrow tables as ``WORK`` says.
    """
    part: list[Item] = []
    for item in items:
        if len(part) >= part_size and item[:2] != part[-1][:2]:
            yield _to_arrow(part)
            part = []
        part.append(item)
    if part:
        yield _to_arrow(part)


def _to_arrow(part: list[Item]) -> Any:
    sources, groups, rows, names = zip(*part, strict=True)
    columns = [list(map(encode_name, sources)), groups, rows, list(map(encode_name, names))]
    arrays = [pa.array(v, kind) for v, kind in zip(columns, WORK.types, strict=True)]
    return pa.table(arrays, schema=WORK)


def claim(job: Job, recipe: dict[str, Any], plan: Plan) -> None:
    """Make sure that what is there already was painted in the same way; leave word of it.

    Args:
        job: What to do.
        recipe: What decides how paintings look: names and plain values.
        plan: Of the job.

    Raises:
        OSError: If that cannot be read or written.
        ValueError: If it was painted otherwise, or by something else, or no word of it can be read.
    """
    place = job.paintings.url
    try:
        former = json.loads(job.paintings.read(RECIPE))
    except FileNotFoundError:
        if plan.num_missing < plan.num_photos:
            raise ValueError(
                f"{place} holds files of the same names that were not painted by this command: "
                f"give another folder."
            ) from None
        job.paintings.write(RECIPE, json.dumps(recipe).encode())
        return
    except (ValueError, RecursionError):
        former = None
    if not isinstance(former, dict):
        raise ValueError(
            f"{place}/{RECIPE} is damaged, and nothing else tells how the paintings there were "
            f"made: give another folder, or empty this one."
        )
    differing = [key for key, value in recipe.items() if former.get(key) != value]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{place} was painted with {key} {former.get(key)}, which is {recipe[key]} now: give "
            f"another folder, or the same as then."
        )
