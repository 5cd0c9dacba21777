"""Open what a run has left: its model alone, or its base model with the adapter.

PEFT is imported only for a run with an adapter: it is absent where only plain models are served.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.models.half_weights import answer_in_fp32
from tsumugi.models.loading import load_pretrained, open_config, open_model
from tsumugi.outside_model import CONFIG, local_folder
from tsumugi.tokenization.loading import load_tokenizer


def load_run(directory: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a finished run in eval mode: its weights, or its base's with the adapter folded in.

    An adapter that cannot be folded in exactly stays beside the weights, and the model is a ``PeftModel``.
    """
    directory = Path(directory)
    if not (directory / "adapter").is_dir():
        model, tokenizer = load_pretrained(str(directory))
        return model.eval(), tokenizer
    from tsumugi.models.adapters import open_folded

    folded: Any = open_folded(directory)  # a PeftModel hands on to the model in it what it does not know itself
    return folded, load_tokenizer(str(directory))


def load_whole(directory: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a finished run in eval mode as one model without an adapter, to be written in another form.

    Without an adapter the weights have the type that they have in their files.

    Raises:
        TsumugiError: its adapter cannot be folded in, or not without changing the answers.
    """
    directory = Path(directory)
    if not (directory / "adapter").is_dir():
        model, tokenizer = load_pretrained(str(directory), as_stored=True)
        return model.eval(), tokenizer
    from tsumugi.models.adapters import open_adapter
    from tsumugi.models.folding import merge

    return merge(open_adapter(directory)).eval(), load_tokenizer(str(directory))


def load_writer(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a finished run, or another model's directory or hub name, in eval mode, to write one text with.

    An RWKV that is stored in half precision stays so on a CPU, and answers as in fp32.
    """
    if (Path(source) / "adapter").is_dir():
        return load_run(source)
    folder = local_folder(source, [CONFIG], "model")
    kind = open_config(folder, source).model_type
    keep = kind in ("rwkv", "rwkv7") and not torch.cuda.is_available()
    model, tokenizer = open_model(source, folder, as_stored=keep)
    if model.dtype != torch.float32:
        answer_in_fp32(model)
    return model.eval(), tokenizer
