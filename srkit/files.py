"""Files: where srkit looks for them, how it downloads and checks them, and how it writes them.

Every file has one relative name ("weights/IMDN/IMDN_x2.pth", "benchmarks/Set5"). srkit looks for it
in the folders that the environment variable SRKIT_HOME lists, which it never writes to, and then in
its own cache (the folder that SRKIT_CACHE names, or the platform's cache folder).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from lzma import LZMAError
from pathlib import Path, PureWindowsPath
from typing import IO, Self, TypeVar

from srkit.checks import check_folder, expanded, resolved
from srkit.progress import bar

Json = TypeVar("Json", list, dict)

CHUNK = 1 << 20
# Pictures unpack to two or three times their size; an archive that grows far more is refused.
MAX_EXPANSION, ALWAYS_ALLOWED = 50, 64 << 20


def home() -> list[Path]:
    """The folders to look for files in, first to last: those of SRKIT_HOME, then the cache."""
    named = os.environ.get("SRKIT_HOME", "").split(os.pathsep)
    return [expanded(folder) for folder in named if folder] + [_cache_folder()]


def cache_folder() -> Path:
    """The folder that srkit writes to, made if it is missing: SRKIT_CACHE or the platform's.

    Raises what `check_folder` raises, where it cannot be made.
    """
    folder = _cache_folder()
    check_folder(folder, f"srkit's cache {folder} (SRKIT_CACHE names another)")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_folder() -> Path:
    if named := os.environ.get("SRKIT_CACHE"):
        return expanded(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("srkit"))


def find(relative: str) -> Path | None:
    """The file or folder of that name in the first folder of `home()` that has it, or None."""
    return _first(home(), relative)


def find_data(relative: str) -> Path | None:
    """A file that srkit ships, in the repository's data/ or an installed srkit/_data, or None."""
    package = Path(__file__).resolve().parent
    return _first([package / "_data", package.parent / "data"], relative)


def data_path(relative: str) -> Path:
    """A file that srkit ships, as `find_data` finds it. Raises FileNotFoundError if not there."""
    if path := find_data(relative):
        return path
    raise FileNotFoundError(f"srkit ships no {relative!r}: it is not in data/, nor in srkit/_data.")


def _first(folders: Sequence[Path], relative: str) -> Path | None:
    return next((folder / relative for folder in folders if (folder / relative).exists()), None)


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(expanded(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_text(value: object) -> str:
    """`value` as JSON text; NaN and infinite numbers, which JSON has not, are null."""

    def plain(x: object) -> object:
        if isinstance(x, dict):
            return {key: plain(item) for key, item in x.items()}
        if isinstance(x, list | tuple):
            return [plain(item) for item in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(value), indent=1, allow_nan=False)


def read_json(path: str | os.PathLike, kind: type[Json]) -> Json:
    """What a JSON file holds, a `list` or a `dict` as `kind` says.

    Raises Damaged, naming the file, for one that is cut, altered, or holds another kind of thing.
    """
    try:
        found = json.loads(expanded(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: a hundred thousand brackets
        raise Damaged(f"{path} is damaged ({error}): remove it, or make it again.") from error
    if not isinstance(found, kind):
        raise Damaged(
            f"{path} is damaged: it holds a {type(found).__name__}, expected a {kind.__name__}."
        )
    return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While one process makes `path`, others that want to make it wait.

    The lock is a file in the cache's folder "locks", so that nothing is left beside what is made.
    """
    from filelock import FileLock

    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with FileLock(locks / f"{name}.lock"):
        yield


@contextlib.contextmanager
def write_whole(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Write a file completely or not at all: `with write_whole(path) as file: file.write(...)`.

    The bytes go into a temporary file in the same folder (made if it is missing), which replaces
    `path` when the block ends. If anything fails, Ctrl-C included, the temporary file is removed
    and what was at `path` stays as it was. What a process that was killed left in the folder goes
    when the next process first writes to it.

    Raises ValueError if `path` is a folder, a device or a link to itself; OSError, which names
    `path`, if the disk is full or nothing can be written there.
    """
    path = resolved(path)  # a link is followed: the file that it points to is replaced
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a plain file: choose another name to write to.")
    temporary = _temporary(path.parent)
    encoding = None if "b" in mode else "utf-8"
    try:
        with _failing_in_words(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent not in _tidied:
                remove_stale(path.parent)
                _tidied.add(path.parent)
            with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, gone when the block ends; left by a kill, when the next begins."""
    folder = _temporary(parent)
    parent.mkdir(parents=True, exist_ok=True)
    remove_stale(parent)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_tidied: set[Path] = set()  # folders that `write_whole` has written to


def remove_stale(folder: Path) -> None:
    """Remove the temporary files and folders of this machine's processes that are gone."""
    import psutil

    for path in folder.glob(f"{_temporary_of('*')}-*.tmp"):
        process = path.name.split("-")[2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    """A new name in a folder, which says whose it is."""
    return folder / f"{_temporary_of(os.getpid())}-{uuid.uuid4().hex}.tmp"


def _temporary_of(process: int | str) -> str:
    """How the names of a process's temporary files begin: ".srkit-MACHINE-PROCESS"."""
    return f".srkit-{zlib.crc32(platform.node().encode()):08x}-{process}"


# What a system says when no more bytes go into a file, and what that means.
_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EFBIG: "the file is larger than the disk, or a limit (ulimit -f), allows",
}


@contextlib.contextmanager
def _failing_in_words(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """What the system says of no room, with what to do; and of `temporary` as of `path`."""
    try:
        yield
    except OSError as error:
        number = error.errno
        if number is None or error.filename not in (None, str(path), str(temporary)):
            raise  # not the system's, or of another file
        said = error.strerror
        if number in _NO_ROOM:
            folder = next(parent for parent in path.parents if parent.exists())
            free = shutil.disk_usage(folder).free / 2**20
            few = ", too few for this file" if number == errno.ENOSPC else ""
            said = (
                f"{_NO_ROOM[number]}: {folder} has {free:.1f} MiB free{few}. "
                "Make room, or choose another place (SRKIT_CACHE names srkit's cache)"
            )
        raise OSError(number, said, str(path)) from error


class Damaged(ValueError):
    """A file is not what it says it is: cut short, altered, empty, or of another kind."""


class Unreachable(RuntimeError):
    """No address gave the file. `failures` has a sentence for each address that was tried."""

    def __init__(self, message: str, failures: list[str]):
        super().__init__(message)
        self.failures = failures


def fetch(urls: Sequence[str], to: str, expected: str | None) -> Path:
    """The file `to`: found under `home()`, or downloaded into the cache from the first good mirror.

    expected: its SHA-256. A file with another one is never kept, and a transfer that broke off is
    resumed by the next call. With None, whatever comes is taken with a warning, and its hash is
    written to the file `to`.sha256.

    Raises Unreachable, with the reason for each mirror, if none gives the file; OSError if the disk
    is full.
    """
    found, failures = _at_hand(to, expected)
    if found:
        return found
    target = cache_folder() / to
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target):  # of several processes one downloads, and the others find the file
        if failures or target.is_file():
            found, failures = _at_hand(to, expected)
        return found or _fetch(urls, to, target, expected, failures)


def _at_hand(to: str, expected: str | None) -> tuple[Path | None, list[str]]:
    """The file, where it is there already; else what is wrong with those that are there."""
    failures = []
    for path in (folder / to for folder in home()):
        if path.is_file():
            if expected in (None, seen := sha256(path)):
                return path, []
            failures.append(f"{path} has the SHA-256 {seen}, expected {expected}")
    return None, failures


def _fetch(
    urls: Sequence[str], to: str, target: Path, expected: str | None, failures: list[str]
) -> Path:
    part = target.with_name(target.name + ".part")
    for url in urls:
        try:
            _download(url, part, resume=expected is not None)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            failures.append(f"{url}: {error}")
            continue
        seen = sha256(part)
        if expected in (None, seen):
            os.replace(part, target)
            break
        part.unlink()
        failures.append(f"{url}: expected the SHA-256 {expected}, got {seen}")
    else:
        tried = "".join(f"\n  - {failure}" for failure in failures) or " no address is known."
        raise Unreachable(
            f"Could not get {to}:{tried}\n"
            "Run again with a network (a broken transfer is resumed), or put the file by hand at "
            f"{target}, or set SRKIT_HOME to a folder that holds {to}.",
            failures,
        )
    if expected is None:
        with write_whole(target.with_name(target.name + ".sha256"), "w") as file:
            file.write(f"{seen}  {target.name}\n")
        warnings.warn(f"{to} is unverified: srkit knows no SHA-256 of it, saw {seen}", stacklevel=2)
    return target


def _download(url: str, part: Path, *, resume: bool) -> None:
    """Write what `url` gives to `part`; resume: go on where an earlier transfer broke off."""
    start = part.stat().st_size if resume and part.exists() else 0
    headers = {"User-Agent": "srkit"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: `part` is complete
            return
        raise
    start = start if response.status == 206 else 0  # 200: the server sends all of it again
    left = response.headers.get("Content-Length")
    total = None if left is None else start + int(left)
    shown = bar(desc=Path(url).name, total=total, initial=start, unit="B", bytes_=True)
    with response, shown, _failing_in_words(part), open(part, "ab" if start else "wb") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            shown.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"broke off after {part.stat().st_size} of {total} bytes")


# Errors of the system that come of a damaged archive, not of the disk: a place before the file's
# start, a name that is too long, or a file's and a folder's. gzip and bz2 give no number.
_OF_AN_ARCHIVE = (
    None, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
)  # fmt: skip


def unpack(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack a zip or a tar (.gz, .bz2, .xz) into the new `folder`: all of it or nothing.

    Raises FileExistsError if `folder` exists; OSError if the disk is full; Damaged for a file that
    is broken or no archive; ValueError for links, devices and paths that lead out of `folder`, and
    for an archive that unpacks to far more than its own size.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: remove it or unpack elsewhere.")
    try:
        with (
            _open_archive(archive) as opened,
            _failing_in_words(folder),
            temporary_folder(folder.parent) as temporary,
        ):
            _check_members(archive, folder, opened)
            if isinstance(opened, tarfile.TarFile):
                opened.extractall(temporary, filter="data")  # drops owners and unusual rights
                opened.fileobj.seek(opened.offset)
                if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it ends without tar's mark of an end")
                while opened.fileobj.read(CHUNK):  # a gzip has its checksum at the end
                    pass
            else:
                opened.extractall(temporary)
            os.replace(temporary, folder)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        LZMAError,
        EOFError,
        OSError,
        RuntimeError,  # a password, or a way of packing that Python does not know
        UnicodeError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in _OF_AN_ARCHIVE:
            raise
        raise Damaged(f"{archive} is broken ({error}): delete it and fetch it again.") from error
    return folder


class _Member(tarfile.TarInfo):
    """Of a tar, without names and remarks of endless length, which tarfile takes into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if not (found.isreg() or found.isdir()) and found.size > CHUNK:
            raise tarfile.TarError(f"a header of {found.size} bytes")
        return found


def _open_archive(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    # a tar is the first question: one that ends in a zip looks like a zip
    with contextlib.suppress(tarfile.ReadError):
        return tarfile.open(archive, tarinfo=_Member)
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    raise Damaged(f"{archive} is neither a zip nor a tar archive: delete it and fetch it again.")


def _check_members(archive: Path, folder: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> None:
    if isinstance(
        opened, tarfile.TarFile
    ):  # read header by header, so that a bomb is stopped early
        members = ((m.name, m.size, m.isreg() or m.isdir()) for m in opened)
    else:
        plain = {0, stat.S_IFREG, stat.S_IFDIR}  # 0: made on a system without Unix modes
        members = (
            (m.filename, m.file_size, stat.S_IFMT(m.external_attr >> 16) in plain)
            for m in opened.infolist()
        )
    total, allowed = 0, max(ALWAYS_ALLOWED, MAX_EXPANSION * archive.stat().st_size)
    for name, size, is_plain in members:
        path = PureWindowsPath(name)  # it knows drives and both kinds of slash
        if path.anchor or ".." in path.parts:
            raise ValueError(f"{archive} is refused: {name!r} would be written outside {folder}.")
        if not is_plain:
            raise ValueError(f"{archive} is refused: {name!r} is a link or a device, not a file.")
        total += size
        if total > allowed:
            raise ValueError(
                f"{archive} is refused: {archive.stat().st_size} bytes expand to {total} and more."
            )
    if total > shutil.disk_usage(archive.parent).free:
        raise OSError(errno.ENOSPC, "no room to unpack")
