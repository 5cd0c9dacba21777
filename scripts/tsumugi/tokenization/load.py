"""Opens a tokenizer for turning data into ids: one made here, a directory, or a hub name."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tsumugi.errors import TsumugiError
from tsumugi.tokenization import world  # noqa: F401, makes AutoTokenizer open the World tokenizer too


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Open ``source``, a directory or ``hub:org/name``. Special tokens that stand in a text are read as text.

    Raises:
        TsumugiError: nothing opens there, or the tokenizer has no end token.
    """
    name = source.removeprefix("hub:")
    if name == source and not Path(source).is_dir():
        raise TsumugiError(f"tokenizer {source}: there is no such directory (a hub name begins with hub:)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, split_special_tokens=True)
    except (OSError, ValueError) as error:
        raise TsumugiError(f"tokenizer {source}: cannot be opened: {error}") from error
    if tokenizer.eos_token_id is None:
        raise TsumugiError(f"tokenizer {source}: has no end token (eos_token), which ends every document; set one")
    return tokenizer


def tokenizer_manifests(source: str) -> list[Path]:
    """The manifest of a tokenizer that was made here; nothing for one that came from outside."""
    manifest = Path(source) / "manifest.json"
    return [manifest] if manifest.exists() else []
