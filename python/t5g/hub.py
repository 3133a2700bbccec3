"""Models of a Hugging Face hub: `hf:owner/repo[@revision][:file-or-type]` to a file that can be opened.

Cache, revision, token, endpoint and offline mode are huggingface_hub's own. A GGUF file of the repository is taken as
it is; a checkpoint is converted once, beside its download in the cache, for each revision and type.
"""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t5g._files import make_folder, write_error, write_text
from t5g.arguments import warn_once
from t5g.errors import HubError, InvalidArgumentError
from t5g.messages import about

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "hf:"
_NAME = re.compile(r"(?:hf:)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<what>.+))?")
_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
_DEFAULT_TYPE = "q8_0"
_DEFAULT_REVISION = "main"
# What keeps the cache from being written.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS})
# Of a checkpoint: what a conversion reads.
_WANTED = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|processor_config|"
    r"preprocessor_config|chat_template|model\.safetensors\.index|adapter_config)\.json|tokenizer\.model|"
    r"chat_template\.jinja|additional_chat_templates/[^/]+\.jinja|(model|adapter_model)[\w-]*\.safetensors"
)


@dataclass(frozen=True)
class Name:
    """What to take from a hub: a repository, its revision, and a file or a type."""

    repo: str
    revision: str | None = None
    file: str | None = None
    type: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}"


def parse(text: str) -> Name:
    """Take `hf:owner/repo[@revision][:file-or-type]` apart. Raises InvalidArgumentError."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise InvalidArgumentError(f"{text}: expected hf:owner/repo, hf:owner/repo:FILE.gguf or hf:owner/repo:TYPE.")
    return _name(found["repo"], found["revision"], found["what"])


def _name(repo: str, revision: str | None, what: str | None) -> Name:
    if what is None:
        return Name(repo, revision)
    if what.lower() in _TYPES:
        return Name(repo, revision, type=what.lower())
    if what.endswith(".gguf"):
        return Name(repo, revision, file=what)
    raise InvalidArgumentError(f"{PREFIX}{repo}:{what}: expected a .gguf file or one of {' '.join(_TYPES)} at the end.")


def named(repo: str, filename: str | None, revision: str | None, type: str | None) -> Name:
    """Make one of the arguments of `Model.from_pretrained`."""
    if not _NAME.fullmatch(repo):
        raise about(InvalidArgumentError, "repo_id", f"must be 'owner/repo', got {repo!r}.")
    if revision is not None and not revision.strip():
        raise about(
            InvalidArgumentError, "revision", f"must be a branch, tag or commit, got {revision!r}. None takes main."
        )
    name = parse(repo)
    if filename is not None and not filename.endswith(".gguf"):
        raise about(InvalidArgumentError, "filename", f"must be a .gguf file of the repository, got {filename!r}.")
    if type is not None and type.lower() not in _TYPES:
        raise about(InvalidArgumentError, "type", f"must be one of {' '.join(_TYPES)}, got {type!r}.")
    return Name(
        name.repo, revision or name.revision, filename or name.file, type.lower() if type is not None else name.type
    )


def model_file(name: Name, *, progress: bool | None = None) -> Path:
    """Give a model's file, from the cache or the hub.

    Parameters
    ----------
    name
        Which one.
    progress
        Whether a conversion shows its progress on stderr. ``None``: where that is a terminal.

    Raises
    ------
    ImportError
        huggingface_hub is not installed (extra ``hub``).
    FileNotFoundError
        The hub has no such repository, revision or file.
    HubError
        It cannot be reached and the cache has not got it; the repository is gated; a download is broken.
    OSError
        The cache cannot be written.
    """
    repository = _Repository(name)
    if name.file is not None:
        return repository.file(name.file)
    ggufs = [file for file in repository.files if file.endswith(".gguf")]
    if name.type is not None:
        ggufs = [file for file in ggufs if re.search(rf"(?<![a-z0-9]){name.type}(?![a-z0-9])", file.lower())]
    if ggufs:
        return repository.file(_choose(name, ggufs))
    return _converted(repository, name.type or _DEFAULT_TYPE, progress)


def adapter_file(name: Name) -> Path:
    """Give an adapter's file: a GGUF, or one made of a PEFT folder. Raises what `model_file` does."""
    repository = _Repository(name)
    if name.file is not None:
        return repository.file(name.file)
    ggufs = [file for file in repository.files if file.endswith(".gguf")]
    if ggufs:
        return repository.file(_choose(name, ggufs))
    path = repository.converted(f"adapter-{name.type}" if name.type else "adapter")
    if not path.is_file():
        from t5g import convert

        source = repository.checkpoint()
        with _into_the_cache(path):
            convert(source, path, adapter=True, type=name.type)
    return path


def folder(name: Name) -> Path:
    """Give the folder of a checkpoint or adapter, from the cache or the hub. Raises what `model_file` does."""
    return _Repository(name).checkpoint()


def _choose(name: Name, ggufs: Sequence[str]) -> str:
    if len(ggufs) == 1:
        return ggufs[0]
    usual = [file for file in ggufs if _DEFAULT_TYPE in file.lower()]
    if len(usual) == 1:
        return usual[0]
    raise InvalidArgumentError(
        f"{name}: has several models. Say which: {', '.join(f'{PREFIX}{name.repo}:{file}' for file in ggufs)}."
    )


class _Repository:
    """One revision of a repository, of which the hub or the cache has told the files."""

    def __init__(self, name: Name) -> None:
        self.name = name
        self._hub = _import_hub()
        self._is_local = False
        self.commit, self.files = self._list()

    def _list(self) -> tuple[str, list[str]]:
        try:
            with _explained(self.name):
                info = self._hub.HfApi().repo_info(self.name.repo, revision=self.name.revision)
            if info.sha is None:
                raise HubError(f"{self.name}: the hub does not say which revision this is.")
            return info.sha, [sibling.rfilename for sibling in info.siblings or []]
        except HubError as error:
            found = self._cached()
            if found is None:
                raise
            if not isinstance(error, _UnreachableError):  # a licence withdrawn, a server that fails
                warn_once(f"{error} What the cache has is used.")
            self._is_local = True
            return found

    @property
    def _cache(self) -> Path:
        """The folder of the repository in the cache."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name.repo, repo_type="model")

    def _cached(self) -> tuple[str, list[str]] | None:
        """Give what a revision has in the cache."""
        wanted = self.name.revision or _DEFAULT_REVISION
        reference = self._cache / "refs" / wanted
        commit = reference.read_text().strip() if reference.is_file() else wanted
        snapshot = self._cache / "snapshots" / commit
        if not snapshot.is_dir():
            return None
        return commit, [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]

    def file(self, file: str) -> Path:
        """Give one of its files."""
        if self._is_local:
            path = self._cache / "snapshots" / self.commit / file
            if not path.is_file():
                raise HubError(f"{self.name}: the hub cannot be reached, and the cache has no {file}.")
            return path
        if self.files and file not in self.files:
            others = ", ".join(other for other in self.files if other.endswith(".gguf"))
            raise FileNotFoundError(f"{self.name}: has no {file}. {f'It has {others}.' if others else ''}".rstrip())
        with _explained(self.name):
            path = Path(self._hub.hf_hub_download(self.name.repo, file, revision=self.commit))
            self._remember()
        return path

    def _remember(self) -> None:
        """Note in the cache what the revision stands for: huggingface_hub does so only where it is asked by name."""
        wanted = self.name.revision or _DEFAULT_REVISION
        reference = self._cache / "refs" / wanted
        if wanted == self.commit or (reference.is_file() and reference.read_text().strip() == self.commit):
            return
        make_folder(reference.parent)
        write_text(reference, self.commit)

    def checkpoint(self) -> Path:
        """Give the folder with everything that a conversion reads."""
        wanted = [file for file in self.files if _WANTED.fullmatch(file)]
        if not {"config.json", "adapter_config.json"} & set(wanted):
            raise FileNotFoundError(f"{self.name}: has neither a .gguf file nor a checkpoint (config.json).")
        paths = [self.file(file) for file in wanted]
        return next(
            p for p, file in zip(paths, wanted, strict=True) if file in ("config.json", "adapter_config.json")
        ).parent

    def converted(self, type: str) -> Path:
        """Say where what was converted of it lies."""
        return self._cache / "t5g" / f"{self.commit}-{type}.gguf"


def _converted(repository: _Repository, type: str, progress: bool | None) -> Path:
    path = repository.converted(type)
    if path.is_file():
        return path
    source = repository.checkpoint()
    if not (source / "config.json").is_file():
        raise FileNotFoundError(
            f"{repository.name}: is an adapter, not a whole model. Convert it: t5g-convert {repository.name} --adapter "
            "-o adapter.gguf, and load it beside its base."
        )
    from t5g import convert

    shown = sys.stderr.isatty() if progress is None else progress
    with _into_the_cache(path):
        convert(source, path, type=type, progress=shown)
    return path


@contextlib.contextmanager
def _into_the_cache(path: Path) -> Iterator[None]:
    """Make the folder of a file that the block writes."""
    try:
        make_folder(path.parent)
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        raise _of_the_cache(error) from error


def _of_the_cache(error: OSError) -> OSError:
    return OSError(error.errno, f"{error.strerror} HF_HOME says where the cache lies.")


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        message = "models of a hub need the package huggingface_hub. Install it with: pip install 't5g[hub]'"
        raise ImportError(message, name=error.name) from error
    return huggingface_hub


class _UnreachableError(HubError):
    """There is no network, or none is wanted."""


@contextlib.contextmanager
def _explained(name: Name) -> Iterator[None]:
    """Turn what huggingface_hub raises into an error of one line that says what to do."""
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT.rstrip("/")
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name}: is gated. Accept its licence at {endpoint}/{name.repo}, and then log in: hf auth login, or set "
            "HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{name}: the repository has no revision {name.revision!r}.") from error
    except errors.OfflineModeIsEnabled as error:
        raise _UnreachableError(
            f"{name}: the cache has not got it, and HF_HUB_OFFLINE forbids to look for it. Unset that once."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _UnreachableError(_unreachable(name, endpoint)) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: {endpoint} has no such repository, or it is private. Check the name; for a private one, log in: "
            "hf auth login, or set HF_TOKEN."
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(f"{name}: has no such file ({_first_line(error)}).") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise HubError(
                f"{name}: {endpoint} refuses access ({status}). Accept the licence at {endpoint}/{name.repo}, and log "
                "in: hf auth login, or set HF_TOKEN."
            ) from error
        raise HubError(f"{name}: {endpoint} answers with an error ({_first_line(error)}). Try again later.") from error
    except errors.HFValidationError as error:
        raise InvalidArgumentError(f"{name}: is no name of a repository ({_first_line(error)}).") from error
    except OSError as error:
        if error.errno in _NOT_WRITTEN:
            raise _of_the_cache(write_error(error, error.filename or constants.HF_HUB_CACHE)) from error
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise
        what = (
            _unreachable(name, endpoint) if isinstance(error, ConnectionError | TimeoutError) else _broken(name, error)
        )
        raise (_UnreachableError if isinstance(error, ConnectionError | TimeoutError) else HubError)(what) from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3", "h11")):
            raise
        kind = type(error).__name__
        if "Connect" in kind or "Timeout" in kind or "Proxy" in kind:
            raise _UnreachableError(_unreachable(name, endpoint)) from error
        raise HubError(_broken(name, error)) from error


def _unreachable(name: Name, endpoint: str) -> str:
    return f"{name}: {endpoint} cannot be reached, and the cache has not got it. Check the network or HF_ENDPOINT."


def _broken(name: Name, error: Exception) -> str:
    return f"{name}: the download is broken ({_first_line(error)}). Try again: it goes on where it ended."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
