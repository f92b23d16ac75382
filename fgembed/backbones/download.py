"""Published weights: fetched by the libraries' own clients, kept in their caches."""

from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

from torch import Tensor, hub

from fgembed.backbones.weights import read_weights
from fgembed.errors import MissingExtraError, NotFoundError

TIMEOUT_S = 10
BACKBONE_REMEDY = "give it with --weights FILE, or start from --weights random"


def from_url(url: str, name: str, remedy: str = BACKBONE_REMEDY) -> dict[str, Tensor]:
    """The weights at an address, through torch's cache.

    Args:
        url: the address.
        name: of the model, for messages.
        remedy: what to do with a file that was fetched by other means.

    Raises:
        NotFoundError: saying what to fetch by other means.
    """
    file = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    try:
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(url, str(file), _hash(file.stem), progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise _cannot(name, url, getattr(error, "reason", error), remedy) from None
    return read_weights(file)


def from_hub(
    repository: str, files: Sequence[str], name: str, remedy: str = BACKBONE_REMEDY
) -> dict[str, Tensor]:
    """The first of `files` that a repository on huggingface.co holds, through its cache.

    Args:
        repository: `owner/name`, or `owner/name@revision`.
        files: names in the order of preference.
        name: of the model, for messages.
        remedy: what to do with a file that was fetched by other means.

    Raises:
        NotFoundError: saying what to fetch by other means.
    """
    try:
        import huggingface_hub as hugging_face
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise MissingExtraError(f"downloading {name}", "huggingface_hub", "train") from None
    place, _, revision = repository.partition("@")
    revision = revision or "main"
    reason: object = "no such file"
    for file in files:
        found = hugging_face.try_to_load_from_cache(place, file, revision=revision)
        try:
            if not isinstance(found, str):
                # Asked for a file, the client goes on trying for half a minute without a network;
                # asked about it, it does not.
                address = hugging_face.hf_hub_url(place, file, revision=revision)
                hugging_face.get_hf_file_metadata(address, timeout=TIMEOUT_S)
                found = hugging_face.hf_hub_download(place, file, revision=revision)
        except EntryNotFoundError:
            continue
        except Exception as error:  # no base in common but this
            reason = error
            break
        return read_weights(Path(found))
    address = f"https://huggingface.co/{place}/resolve/{revision}/{files[0]}"
    raise _cannot(name, address, reason, remedy)


def _cannot(name: str, address: str, reason: object, remedy: str) -> NotFoundError:
    text = str(reason).strip().partition("\n")[0].rstrip(".")
    return NotFoundError(
        f"cannot download the weights of {name} ({text}); fetch {address} elsewhere and {remedy}"
    )


def _hash(stem: str) -> str | None:
    """The start of the SHA-256 that such a file's name ends in: `resnet18-f37072fd`."""
    end = stem.rpartition("-")[2]
    return end if len(end) >= 8 and set(end) <= set("0123456789abcdef") else None
