"""Weights of a model from outside: read from files that hold tensors alone, and all of them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import GenerationConfig, PreTrainedModel

from tsumugi.errors import TsumugiError, first_line
from tsumugi.models.finite import refuse_non_finite
from tsumugi.models.torch_file import check_archive
from tsumugi.notices import say_once
from tsumugi.outside_model import weight_files

_HEADS = ("cls.", "lm_head.", "lm_predictions.", "generator_", "vocab_")  # of encoders: what predicts masked tokens
_SHOWN = 5
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # safetensors' names


def open_weights(model_class: Any, folder: Path, source: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model in ``folder``.

    Weights that have the type already are not read but mapped from their file.

    Args:
        model_class: with Transformers' ``from_pretrained``.
        source: what errors call the model.
        dtype: of the weights in memory.

    Raises:
        TsumugiError: a file is damaged or holds more than tensors, or weights are missing, misshapen or no numbers.
    """
    files = weight_files(folder)
    pickles = files[0].suffix == ".bin"
    for file in files if pickles else ():
        if zipfile.is_zipfile(file):  # not PyTorch's form until version 1.6, which has no checksums
            check_archive(file)
    try:
        model: PreTrainedModel
        model, found = model_class.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickles,
            weights_only=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # of many kinds: safetensors', PyTorch's, those of shapes and of the model's own code
        raise TsumugiError(f"{source}: its weights cannot be opened ({_reason(error, files)})") from error
    _check_whole(model, sorted(found["missing_keys"]), source)
    refuse_non_finite(model, source)
    _make_savable(model)
    return model


def stored_type(folder: Path) -> torch.dtype | None:
    """The type that all the weights in ``folder`` have; None where they differ, and of PyTorch's own files."""
    found = set()
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            return None
        try:
            with safe_open(file, "pt") as tensors:
                found |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118, is no dict
        except SafetensorError:  # what is wrong with it is said when it is opened
            return None
    return TYPES.get(found.pop()) if len(found) == 1 else None


def _reason(error: Exception, files: list[Path]) -> str:
    """Without PyTorch's advice, which is to let the file run what it likes."""
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{files[0].name} holds more than tensors, or is damaged; PyTorch was told to read tensors alone, and "
            "nothing in the file was run"
        )
    return first_line(error)


def _check_whole(model: PreTrainedModel, missing: list[str], source: str) -> None:
    """Transformers would fill with random numbers what the files lack.

    Raises:
        TsumugiError: weights are missing, other than an encoder's head, which can be trained anew.
    """
    if not missing:
        return
    names = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
    writes = model.config.is_encoder_decoder or model.can_generate()
    if writes or not all(name.startswith(_HEADS) for name in missing):
        raise TsumugiError(
            f"{source}: its files lack weights of a {type(model).__name__}: {names}; they would be random. Take the "
            "model with its language modelling head"
        )
    say_once(f"{source}: the files lack the head ({names}); it begins with random weights")


def _make_savable(model: PreTrainedModel) -> None:
    """Leave out published generation settings that contradict one another: Transformers would refuse to save them."""
    if not model.can_generate():
        return
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config = GenerationConfig.from_model_config(model.config)
