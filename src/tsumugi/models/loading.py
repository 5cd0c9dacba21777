"""Make a model from an architecture of the configuration, or open one from a directory or under its name on the hub."""

from collections.abc import Mapping
from logging import Filter, LogRecord
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tsumugi.errors import TsumugiError, first_line
from tsumugi.models import bert, rwkv4, rwkv7, t5
from tsumugi.models.adapter_base import find_base
from tsumugi.models.tying import record_untied_head
from tsumugi.models.weights import open_weights, stored_type
from tsumugi.outside_model import (
    CONFIG,
    HUB,
    PICKLES,
    SAFETENSORS,
    TOKENIZER_FILES,
    at_commit,
    check_files,
    local_folder,
    weight_files,
)
from tsumugi.schema.json_object import read_json_object
from tsumugi.tokenization.loading import load_tokenizer

logging.disable_progress_bar()  # a bar for each file read says nothing about a job's own progress


class _WithoutTies(Filter):
    """Of a T5 with a head of its own Transformers says that its config should be changed, which already says so."""

    def filter(self, record: LogRecord) -> bool:
        """Whether a record is shown."""
        return "will NOT tie them" not in record.getMessage()


logging.get_logger("transformers.modeling_utils").addFilter(_WithoutTies())

BUILDERS = {"bert": bert.build, "rwkv4": rwkv4.build, "rwkv7": rwkv7.build, "t5": t5.build}


def build_model(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Fresh weights for an entry of the config's ``architectures``, sized to the tokenizer."""
    build = BUILDERS[architecture["kind"]]
    return build(architecture, len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)


def load_pretrained(source: str, as_stored: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a model and its tokenizer from a directory, or from the hub as ``hub:org/name``.

    Weights are read from safetensors, or, where there are none, from PyTorch's files, of which tensors alone are
    accepted. No code that comes with a model is ever run.

    Args:
        as_stored: keep the type that all the weights have in their files, which are then mapped and not read; else, and
            where they are of several types, they become fp32.

    Raises:
        TsumugiError: there is no such model, it is not whole, or its tokenizer does not belong to it.
    """
    return open_model(source, local_folder(source, TOKENIZER_FILES, "model"), as_stored)


def open_model(source: str, folder: Path, as_stored: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """:func:`load_pretrained` for a source of which some files are already here.

    Args:
        folder: where they are: the weights of a hub name are fetched to it.
    """
    if source.startswith(HUB):
        _fetch_weights(source, folder)
    check_files(folder)
    tokenizer = load_tokenizer(source, folder)
    config = open_config(folder, source)
    dtype = (stored_type(folder) if as_stored else None) or torch.float32
    model = open_weights(_model_class(config), folder, source, dtype)
    record_untied_head(model)
    return model, tokenizer


def _fetch_weights(source: str, folder: Path) -> None:
    """Of the commit from which ``folder``, in the hub's cache, has its name: ``source`` may lead to another by now."""
    source = at_commit(source, folder.name)
    local_folder(source, [*TOKENIZER_FILES, *SAFETENSORS, "model-*.safetensors"], "model")
    try:
        weight_files(folder)
    except TsumugiError:
        local_folder(source, [*TOKENIZER_FILES, *PICKLES, "pytorch_model-*.bin"], "model")


def open_config(folder: Path, source: str) -> PretrainedConfig:
    """The model's configuration.

    Raises:
        TsumugiError: there is none that Transformers can read without code of others.
    """
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        return config
    except Exception as error:  # of many kinds: each configuration class checks its own values
        if "trust_remote_code" in str(error):
            kind = read_json_object(folder / CONFIG).get("model_type")
            raise TsumugiError(
                f"{source}: this model comes with code of its own (auto_map in config.json), which is never run here, "
                f"and Transformers has no class for its model_type {kind!r}"
            ) from None
        raise TsumugiError(f"{source}: config.json cannot be used ({first_line(error)})") from error


def warm_up(source: str | Path) -> None:
    """Load the libraries that the model at ``source`` computes with.

    Call it before time and memory are measured: what the libraries take says nothing about the model.
    """
    directory = Path(source)
    base = str(source)
    if (directory / "adapter").is_dir():
        import peft  # noqa: F401

        base = find_base(directory)
    kind = open_config(local_folder(base, [CONFIG], "model"), base).model_type
    warm_up_architecture("rwkv4" if kind == "rwkv" else kind)


def warm_up_architecture(kind: str) -> None:
    """The same for a model that is yet to be made."""
    if torch.cuda.is_available():
        return
    if kind == "rwkv4":
        from tsumugi.models.kernels import wkv4_numba

        wkv4_numba.compile_kernels()
    if kind == "rwkv7":
        from tsumugi.models.kernels import wkv7_numba

        wkv7_numba.compile_kernels()


def predicts_masked_tokens(config: PretrainedConfig) -> bool:
    """Whether a model is an encoder with a masked language modelling head, such as BERT."""
    is_decoder = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not is_decoder


def _model_class(config: PretrainedConfig) -> type:
    if config.model_type == "rwkv":
        return rwkv4.Rwkv4ForCausalLM
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    return AutoModelForMaskedLM if predicts_masked_tokens(config) else AutoModelForCausalLM
