"""Files: where they lie, how they are fetched and checked, and how they are written.

Everything that srkit looks for has one relative name ("weights/IMDN/IMDN_x2.pth",
"benchmarks/Set5"). It is searched in the folders of the environment variable SRKIT_HOME, which are
only ever read, and then in srkit's own cache (SRKIT_CACHE, or the platform's cache folder).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from lzma import LZMAError
from pathlib import Path, PureWindowsPath
from typing import IO

CHUNK = 1 << 20
# An archive of pictures expands two or three times at most.
MAX_EXPANSION, ALWAYS_ALLOWED = 50, 64 << 20


def home() -> list[Path]:
    """The folders where files are looked for, in order: those of SRKIT_HOME, then the cache."""
    named = os.environ.get("SRKIT_HOME", "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in named if folder] + [_cache_folder()]


def cache() -> Path:
    """The folder that srkit writes to, made if need be: SRKIT_CACHE or the platform's own."""
    folder = _cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_folder() -> Path:
    if named := os.environ.get("SRKIT_CACHE"):
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("srkit"))


def find(relative: str) -> Path | None:
    """The first file or folder of that name under `home()`, or None."""
    return next((folder / relative for folder in home() if (folder / relative).exists()), None)


def data_path(relative: str) -> Path:
    """A file that srkit ships: the repository's data/, or srkit/_data once installed."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(
        f"srkit ships no {relative!r}: looked in {package / '_data'} and {package.parent / 'data'}."
    )


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    import pooch

    return pooch.file_hash(path)


@contextlib.contextmanager
def write_whole(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """`with write_whole(path) as file:` leaves the complete file, or what was there before.

    It writes a temporary file in the same folder (made if need be) and renames it once it is on the
    disk; whatever goes wrong, Ctrl-C included, the temporary file is removed.
    """
    path = Path(path).resolve()  # through a link, to the file it stands for
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a plain file: choose another name to write to.")
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with _disk_full_in_words(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_full_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        folder = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(folder).free / 2**20
        raise OSError(
            errno.ENOSPC,
            f"the disk is full: {folder} has {free:.1f} MiB free, too few for this file. "
            "Make room, or choose another place (SRKIT_CACHE names srkit's cache)",
            str(path),
        ) from error


class Unreachable(RuntimeError):
    """No address gave the file; `failures` says of each why."""

    def __init__(self, message: str, failures: list[str]):
        super().__init__(message)
        self.failures = failures


def fetch(urls: Sequence[str], to: str, sha256: str | None) -> Path:
    """The file `to`: found under `home()`, or downloaded into the cache from the first good mirror.

    A transfer that broke off is resumed. A file whose hash is not `sha256` is never kept. Without a
    known hash what comes is taken with a warning, and the hash seen is written to `to`.sha256.

    Raises Unreachable, naming each mirror's failure, when none gives the file.
    """
    import pooch

    failures = []
    for path in (folder / to for folder in home()):
        if path.is_file():
            if sha256 in (None, seen := pooch.file_hash(path)):
                return path
            failures.append(f"{path} has the SHA-256 {seen}, expected {sha256}")
    target = cache() / to
    for url in urls:
        try:
            pooch.retrieve(
                url,
                known_hash=sha256,
                fname=target.name,
                path=target.parent,
                downloader=_resume(target.with_name(target.name + ".part"), verified=bool(sha256)),
            )
            break
        except (OSError, HTTPException, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            failures.append(f"{url}: {error}")
    else:
        tried = "".join(f"\n  - {failure}" for failure in failures) or " no address is known."
        raise Unreachable(
            f"Could not get {to}:{tried}\n"
            "Run again with a network (a broken transfer is resumed), or put the file by hand at "
            f"{target}, or set SRKIT_HOME to a folder that holds {to}.",
            failures,
        )
    if sha256 is None:
        seen = pooch.file_hash(target)
        with write_whole(target.with_name(target.name + ".sha256"), "w") as file:
            file.write(f"{seen}  {target.name}\n")
        warnings.warn(f"{to} is unverified: srkit knows no SHA-256 of it, saw {seen}", stacklevel=2)
    return target


def _resume(part: Path, verified: bool) -> Callable[[str, str, object], None]:
    """A downloader for pooch that continues `part`; only where a hash will judge the result."""

    def download(url: str, output_file: str, _pooch) -> None:
        from tqdm import tqdm

        start = part.stat().st_size if verified and part.exists() else 0
        headers = {"User-Agent": "srkit"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            response = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=20
            )
        except urllib.error.HTTPError as error:
            if error.code != 416:  # 416: nothing is left to send, `part` is all of it
                raise
        else:
            start = start if response.status == 206 else 0  # 200: the server sends it all again
            left = response.headers.get("Content-Length")
            total = None if left is None else start + int(left)
            bar = tqdm(
                desc=Path(url).name, total=total, initial=start, unit="B", unit_scale=True,
                disable=None,
            )  # fmt: skip
            with response, bar, _disk_full_in_words(part), open(part, "ab" if start else "wb") as f:
                while chunk := response.read(CHUNK):
                    f.write(chunk)
                    bar.update(len(chunk))
            if total is not None and part.stat().st_size != total:
                raise ConnectionError(f"broke off after {part.stat().st_size} of {total} bytes")
        os.replace(part, output_file)

    return download


def unpack(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack a zip or tar (.gz, .bz2, .xz) into the new `folder`: all of it or nothing.

    Raises ValueError for a broken file, and for an archive with anything but plain files and
    folders below itself, or one that expands absurdly; FileExistsError when `folder` is there.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: remove it or unpack elsewhere.")
    temporary = folder.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with _open_archive(archive) as opened, _disk_full_in_words(folder):
            temporary.mkdir(parents=True)
            _check_members(archive, folder, opened)
            if isinstance(opened, tarfile.TarFile):
                opened.extractall(temporary, filter="data")  # no foreign owners, no odd modes
                while opened.fileobj.read(CHUNK):  # to the end, where the checksum of a gzip is
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
    ) as error:
        if getattr(error, "errno", None):  # the disk's; gzip and bz2 raise OSError without a number
            raise
        raise ValueError(f"{archive} is broken ({error}): delete it and fetch it again.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _open_archive(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if tarfile.is_tarfile(archive):  # asked first: a tar that ends in a zip passes for one
        return tarfile.open(archive)
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    raise ValueError(f"{archive} is neither a zip nor a tar archive: delete it and fetch it again.")


def _check_members(archive: Path, folder: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> None:
    if isinstance(opened, tarfile.TarFile):  # read header by header: a bomb is met before it bursts
        members = ((m.name, m.size, m.isreg() or m.isdir()) for m in opened)
    else:
        plain = {0, stat.S_IFREG, stat.S_IFDIR}  # 0: written where files have no Unix modes
        members = (
            (m.filename, m.file_size, stat.S_IFMT(m.external_attr >> 16) in plain)
            for m in opened.infolist()
        )
    total, allowed = 0, max(ALWAYS_ALLOWED, MAX_EXPANSION * archive.stat().st_size)
    for name, size, is_plain in members:
        path = PureWindowsPath(name)  # knows drives and both kinds of slash
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
