"""Make a model from the config, or open one: a finished run, a local directory, or a hub name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tsumugi.errors import TsumugiError
from tsumugi.models import bert, rwkv4, rwkv7, t5
from tsumugi.models.tying import record_untied_head
from tsumugi.tokenization import world  # noqa: F401, makes AutoTokenizer open the World tokenizer too

logging.disable_progress_bar()  # a bar for each file read says nothing about a job's own progress
# Of a T5 with a head of its own Transformers says that the config should be mended, which already says so.
logging.get_logger("transformers.modeling_utils").addFilter(
    lambda record: "will NOT tie them" not in record.getMessage()
)

BUILDERS = {"bert": bert.build, "rwkv4": rwkv4.build, "rwkv7": rwkv7.build, "t5": t5.build}


def build_model(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Fresh weights for an entry of the config's ``architectures``, sized to the tokenizer."""
    build = BUILDERS[architecture["kind"]]
    return build(architecture, len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)


def load_pretrained(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a model and its tokenizer from a directory, or from the hub as ``hub:org/name``; safetensors only.

    Raises:
        TsumugiError: there is no such model, or it holds no safetensors.
    """
    name = source.removeprefix("hub:")
    local = name == source
    if local and not Path(name).is_dir():
        raise TsumugiError(f"{source}: there is no such directory (a hub name begins with hub:)")
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=local)
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        model = _model_class(config).from_pretrained(
            name, local_files_only=local, use_safetensors=True, dtype="float32"
        )
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise TsumugiError(
            f"{source}: no model could be opened there ({first_line}). It needs config.json, a tokenizer and "
            "model.safetensors; a hub name needs a network or a filled cache (HF_HOME)"
        ) from error
    if tokenizer.pad_token_id is None:
        raise TsumugiError(f"{source}: its tokenizer has no padding token; set pad_token in tokenizer_config.json")
    record_untied_head(model)
    return model, tokenizer


def warm_up(source: str | Path) -> None:
    """Load the libraries that the model at ``source`` computes with.

    Call it before time and memory are measured: what the libraries take says nothing about the model.
    """
    directory = Path(source)
    base = str(source)
    if (directory / "adapter").is_dir():
        import peft  # noqa: F401

        base = adapter_base(directory)
    name = base.removeprefix("hub:")
    kind = AutoConfig.from_pretrained(name, local_files_only=name == base).model_type
    warm_up_architecture("rwkv4" if kind == "rwkv" else kind)


def warm_up_architecture(kind: str) -> None:
    """The same for a model that is yet to be made."""
    if torch.cuda.is_available():
        return
    if kind == "rwkv4":
        from tsumugi.models import wkv_numba

        wkv_numba.compile_kernels()
    if kind == "rwkv7":
        from tsumugi.models import wkv7_numba

        wkv7_numba.compile_kernels()


def load_run(directory: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a finished run in eval mode: its weights, or its base's with the adapter folded in.

    An adapter that cannot be folded in exactly stays beside the weights, and the model is a ``PeftModel``.
    """
    directory = Path(directory)
    if not (directory / "adapter").is_dir():
        model, tokenizer = load_pretrained(str(directory))
        return model.eval(), tokenizer
    from tsumugi.models.adapters import open_folded  # PEFT: absent where only plain models are served

    return open_folded(directory), AutoTokenizer.from_pretrained(str(directory))


def load_whole(directory: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open a finished run in eval mode as one model without an adapter.

    Raises:
        TsumugiError: its adapter cannot be folded in, or not without changing the answers.
    """
    directory = Path(directory)
    if not (directory / "adapter").is_dir():
        return load_run(directory)
    from tsumugi.models.adapters import merge, open_adapter

    return merge(open_adapter(directory)).eval(), AutoTokenizer.from_pretrained(str(directory))


def adapter_base(directory: Path) -> str:
    """Where the weights lie that an adapter stands on. PEFT stores a hub name as it is, without ``hub:``."""
    config = directory / "adapter" / "adapter_config.json"
    base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
    return base if base.startswith((".", "/")) or Path(base).is_dir() else f"hub:{base}"


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
