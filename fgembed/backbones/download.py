"""Published weights, downloaded by the libraries' own clients into their caches."""

from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

from torch import Tensor, hub

from fgembed.backbones.weights import read_weights
from fgembed.errors import MissingExtraError, NotFoundError

TIMEOUT_S = 10
BACKBONE_REMEDY = "pass it as --weights FILE, or start from --weights random"


def from_url(url: str, name: str, remedy: str = BACKBONE_REMEDY) -> dict[str, Tensor]:
    """The weights at a URL, through torch's cache.

    Args:
        url: of the file.
        name: of the model, for messages.
        remedy: what to do with a file that was downloaded on another machine.

    Raises:
        NotFoundError: the download failed; the message names the URL to download by other means.
    """
    file = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    try:
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(url, str(file), _hash_prefix(file.stem), progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise _download_error(name, url, getattr(error, "reason", error), remedy) from None
    return read_weights(file)


def from_hub(
    repository: str, files: Sequence[str], name: str, remedy: str = BACKBONE_REMEDY
) -> dict[str, Tensor]:
    """The first of `files` that a repository on huggingface.co holds, through its cache.

    Args:
        repository: `owner/name`, or `owner/name@revision`.
        files: names in order of preference.
        name: of the model, for messages.
        remedy: what to do with a file that was downloaded on another machine.

    Raises:
        NotFoundError: the download failed; the message names the URL to download by other means.
    """
    try:
        import huggingface_hub as hugging_face
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise MissingExtraError(f"downloading {name}", "huggingface_hub", "train") from None
    repository, _, revision = repository.partition("@")
    revision = revision or "main"
    reason: object = "no such file"
    for file in files:
        path = hugging_face.try_to_load_from_cache(repository, file, revision=revision)
        try:
            if not isinstance(path, str):
                # Without a network a download retries for half a minute; a request for metadata
                # fails at once.
                url = hugging_face.hf_hub_url(repository, file, revision=revision)
                hugging_face.get_hf_file_metadata(url, timeout=TIMEOUT_S)
                path = hugging_face.hf_hub_download(repository, file, revision=revision)
        except EntryNotFoundError:
            continue
        except Exception as error:  # the only common base class
            reason = error
            break
        return read_weights(Path(path))
    url = f"https://huggingface.co/{repository}/resolve/{revision}/{files[0]}"
    raise _download_error(name, url, reason, remedy)


def _download_error(name: str, url: str, reason: object, remedy: str) -> NotFoundError:
    text = str(reason).strip().partition("\n")[0].rstrip(".")
    return NotFoundError(
        f"cannot download the weights of {name} ({text})",
        f"download {url} on another machine and {remedy}",
    )


def _hash_prefix(stem: str) -> str | None:
    """The start of the SHA-256 at the end of a file's name, as in `resnet18-f37072fd`."""
    end = stem.rpartition("-")[2]
    return end if len(end) >= 8 and set(end) <= set("0123456789abcdef") else None
