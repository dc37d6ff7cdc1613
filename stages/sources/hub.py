"""Files of a model, on this machine or on a model hub: search, download and digests."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from g2rpo.model_files.reading import known_files
from stages.disk.files import FileState, file_digest, value_digest, write_sealed
from stages.disk.records import DigestRecord, read_record
from stages.disk.root import store_root
from stages.params.section import FileSource, Source

_TWICE = ["*.fp16.*"]  # variants of weights that also exist in full precision
_LARGE = 64 * 2**20  # bytes from which on the store keeps a digest, since reading the file takes long


def local_folder(source: Source, patterns: Sequence[str], *, key: str) -> Path:
    """Return the folder of a source; files on a hub are downloaded once, at their revision.

    Args:
        patterns: Patterns of the required files.
        key: Key of the source in params.yaml, for errors.

    Raises:
        ValueError: If there is no such folder, the hub cannot be reached or refuses, or the revision is missing.
    """
    if Path(source.path).is_dir():
        if source.revision is not None:
            raise ValueError(
                f"{key}.revision: null is required for a folder, got {source.revision} for {source.path}. A folder is "
                "identified by the digest of its files."
            )
        return _own(Path(source.path), patterns, key)
    if source.path.count("/") != 1 or source.path.startswith((".", "/", "~")):
        raise ValueError(
            f"{key}.path: a folder, or a hub id as owner/name, is required; got {source.path}, which is no folder "
            "here. Correct it."
        )
    if source.revision is None:
        raise ValueError(
            f"{key}.revision: the commit of a hub id is required, 40 hex digits, got null for {source.path}, which is "
            "no folder here. Take it from the hub's page of the model's files, or correct the path."
        )
    return _own(_snapshot(source.path, source.revision, tuple(patterns), key), patterns, key)


def local_file(source: FileSource, *, key: str) -> Path:
    """Return the file of a source, downloaded if it is on a hub.

    Raises:
        ValueError: As `local_folder`, or if the folder has no such file.
    """
    if Path(source.file).is_absolute() or ".." in Path(source.file).parts:
        raise ValueError(
            f"{key}.file: the name of a file within {source.path} is required, got {source.file!r}. Name the folder of "
            f"the file in {key}.path."
        )
    path = local_folder(source, [source.file], key=key) / source.file
    if not path.is_file():
        raise ValueError(
            f"{key}.file: a file of {source.path} is required, got {source.file}, which is none. Correct it."
        )
    return path


def files_digest(folder: Path, patterns: Sequence[str], *, key: str) -> str:
    """Return the digest of the matching files of a folder, whatever its name.

    Raises:
        ValueError: If no file matches.
    """
    files = known_files(folder, patterns)
    if not files:
        raise ValueError(
            f"{key}: a folder with {', '.join(patterns)} is required, got {folder} without any. Correct it."
        )
    return value_digest({str(path.relative_to(folder)): weights_digest(path) for path in files})


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file, computed once for each state of it; the store keeps that of a large file."""
    return _digest(FileState.of(path))


def _own(folder: Path, patterns: Sequence[str], key: str) -> Path:
    """Return a folder none of whose files is a link to elsewhere."""
    try:
        known_files(folder, patterns)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    return folder


@cache
def _digest(file: FileState) -> str:
    if file.size < _LARGE:
        return file_digest(file.path)
    kept = store_root() / "digests" / value_digest({**vars(file), "path": str(file.path)})
    record = read_record(kept, DigestRecord)
    if record and record["file"] == kept.name:
        return record["digest"]
    digest = file_digest(file.path)
    write_sealed(kept, {"file": kept.name, "digest": digest})
    return digest


@cache
def _snapshot(repository: str, revision: str, patterns: tuple[str, ...], key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    required = f"{key}: the files of {repository} at {revision} are required"
    needed = list(patterns)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=needed, ignore_patterns=_TWICE))
    except GatedRepoError as error:
        raise ValueError(
            f"{required}, got a refusal: the model requires that you accept its licence. Accept it on the hub's page "
            "of the model, then give your token by `hf auth login` or HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{required}, got no answer from the hub and no copy in its cache. Go online; or download it by `hf "
            f"download {repository} --revision {revision} {' '.join(f'--include {p!r}' for p in _folders(patterns))} "
            f"--local-dir DIR`, and give {key} the path DIR and the revision null."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(
            f"{required}, got an error of the hub: {error}. Correct path and revision, or try again."
        ) from error


def _folders(patterns: Sequence[str]) -> list[str]:
    """Return patterns for a message: a folder in place of the kinds of files in it."""
    return list(dict.fromkeys(f"{pattern.split('/')[0]}/*" if "/" in pattern else pattern for pattern in patterns))
