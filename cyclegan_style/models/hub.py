"""Folders of models on the Hugging Face Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.export import CARD_FILE, CONFIG_FILE, MODEL_FOLDER


def download_model(repository: str) -> Path:
    """Fetch a model, from the cache where the Hub cannot be reached."""
    from huggingface_hub import snapshot_download

    wanted = [CONFIG_FILE, "generator_*.safetensors"]
    patterns = [*wanted, *(f"{MODEL_FOLDER}/{name}" for name in wanted)]
    with _one_line(f"{repository}: no such file or folder, and the Hub gave no model of this id"):
        return Path(snapshot_download(repository, allow_patterns=patterns))


def upload_model(folder: Path, repository: str, *, private: bool) -> str:
    """Publish a folder as a repository, made if need be, and return its address.

    A model card that someone has written there already stays as it is.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    with _one_line(f"--push: {repository}: the Hub did not take the model"):
        address = hub.create_repo(repository, private=private, exist_ok=True)
        described = hub.file_exists(repository, CARD_FILE)
        hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            ignore_patterns=[CARD_FILE] if described else None,
            commit_message="Model of cyclegan_style",
        )
    return str(address)


@contextmanager
def _one_line(complaint: str) -> Iterator[None]:
    """Turn whatever the Hub's client raises, offline or not, into one line."""
    try:
        yield
    except Exception as error:  # its HTTP library's, which is another from version to version
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise UserError(printable(f"{complaint} ({reason})")) from None
