"""The official ``.pth`` files of RWKV-4 and RWKV-7: one dict of tensors, keys and shapes as BlinkDL/RWKV-LM saves them.

Such a file holds no settings, so version and sizes follow from keys and shapes. What is read stays mapped from the file
until it is used, so a 14 GB file needs 14 GB. No file can run code: only tensors are unpickled.
"""

import pickle
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, RwkvConfig

from tsumugi.atomic import atomic_path
from tsumugi.errors import TsumugiError, first_line
from tsumugi.models.rwkv4 import Rwkv4ForCausalLM
from tsumugi.models.rwkv7 import Rwkv7Config, Rwkv7ForCausalLM
from tsumugi.models.torch_file import Entry, check_archive, no_torch_file, save_tensors
from tsumugi.models.tying import is_head_tied

RwkvModel = Rwkv4ForCausalLM | Rwkv7ForCausalLM
Shapes = Mapping[str, tuple[int, ...]]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OFFICIAL_NAMES = {
    "embeddings": "emb",
    "attention": "att",
    "feed_forward": "ffn",
    "pre_ln": "ln0",
    "time_mix_key": "time_mix_k",
    "time_mix_value": "time_mix_v",
    "time_mix_receptance": "time_mix_r",
}
MARKS = {  # what only keys of a version contain, given that those above it do not
    "7": (".att.r_k", ".att.k_k", ".att.k_a", ".att.x_r", ".att.w0"),
    "6": (".time_maa",),
    "5": (".att.ln_x.", ".att.gate.", ".time_faaaa"),
    "4": (".att.time_", ".time_mix_"),
}
LAYER_NORM_EPSILON = 1e-5  # of every official model; the file has no place for another
ARCHIVE, PICKLE = b"PK\x03\x04", b"\x80"  # how the files of torch.save begin, since version 1.6 and before
NAMED = 5  # keys that an error lists


def read_rwkv(
    path: str | Path, dtype: torch.dtype | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> RwkvModel:
    """Open an official file as a Transformers model in eval mode.

    Args:
        path: the ``.pth`` file; it may be replaced while the model lives, but not be written over in place.
        dtype: convert the weights; None keeps the file's, or the widest of them if it has several.
        tokenizer: must fit the vocabulary, and gives the model its special ids. Without one, id 0 serves as padding,
            begin and end, as with both vocabularies that RWKV was published with.

    Raises:
        TsumugiError: no file, no torch file, cut off or changed, code in it, another version, keys or shapes that do
            not fit, weights that are no numbers, or a tokenizer with more tokens than the model.
    """
    path = Path(path)
    tensors = _tensors(path, _load(path))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    version = _version(path, shapes)
    config = _config(path, version, shapes)
    config.tie_word_embeddings = _same_memory(tensors.get("emb.weight"), tensors.get("head.weight"))
    _set_tokens(path, config, tokenizer)
    with torch.device("meta"):
        model = Rwkv4ForCausalLM(config) if version == "4" else Rwkv7ForCausalLM(config)
    names = {_official(name): name for name in model.state_dict()}
    wanted = {_official(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_keys(path, version, shapes, wanted)
    dtype = dtype or reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))
    state = {names[key]: _finite(path, key, tensors.pop(key).to(dtype)) for key in list(tensors)}
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.eval()  # type: ignore[no-untyped-call]  # Transformers gives it no types
    return model


def write_rwkv(model: PreTrainedModel, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a model as an official file, whole or not at all.

    Args:
        dtype: convert the weights; None keeps theirs, so that what was read is written back bit by bit. Tied embeddings
            are stored once, under both keys.

    Raises:
        TsumugiError: the model is no RWKV of ours, has settings that the file cannot hold, or weights that are no
            numbers (in ``dtype``).
    """
    path = Path(path)
    if not isinstance(model, RwkvModel):
        raise TsumugiError(f"{path}: official .pth files hold RWKV-4 or RWKV-7; this model is a {type(model).__name__}")
    epsilon = model.config.layer_norm_epsilon
    if epsilon != LAYER_NORM_EPSILON:
        raise TsumugiError(
            f"{path}: layer_norm_epsilon is {epsilon}, but whoever opens a .pth assumes {LAYER_NORM_EPSILON}; "
            "this model can only be kept as a directory"
        )
    entries = {_official(name): _entry(path, name, tensor, dtype) for name, tensor in model.state_dict().items()}
    if is_head_tied(model):
        entries["head.weight"] = entries["emb.weight"]
    with atomic_path(path) as temporary:
        save_tensors(entries, temporary)


def _entry(path: Path, name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> Entry:
    dtype = dtype or tensor.dtype
    return Entry(tensor.shape, dtype, lambda: _finite(path, _official(name), tensor.to("cpu", dtype)))


def _official(name: str) -> str:
    """The official key of one of our parameters."""
    return ".".join(OFFICIAL_NAMES.get(part, part) for part in name.removeprefix("rwkv.").split("."))


def _same_memory(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and one.data_ptr() == other.data_ptr()


def _load(path: Path) -> Any:
    """What the file holds, tensors mapped from it where its format allows."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror}); give an official .pth file") from error
    zipped = start == ARCHIVE  # the directory at its end alone would not do: a tar around a .pth has one too
    if zipped and not zipfile.is_zipfile(path):
        raise TsumugiError(f"{path}: its end is missing (the archive has no directory); download or copy it again")
    if zipped:
        check_archive(path)
    elif tarfile.is_tarfile(path):
        raise TsumugiError(f"{path}: is a tar archive, and no file of torch.save; unpack it, and give the .pth in it")
    try:
        return torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
    except pickle.UnpicklingError as error:  # its text tells the user to load without care: never show it
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code or start.startswith(PICKLE):
            raise TsumugiError(
                f"{path}: refused, nothing was run: it is a pickle that holds {code[1] if code else 'something'} "
                "beside tensors, which could be code; ask its maker for a file of weights alone"
            ) from error
        raise no_torch_file(path, "unknown format") from error
    except Exception as error:  # of many kinds: torch stumbles over a broken file wherever it happens to be broken
        reason = first_line(error)[:200]
        raise no_torch_file(path, "unknown format" if "weights_only" in str(error) else reason) from error


def _tensors(path: Path, content: Any) -> dict[str, torch.Tensor]:
    if not isinstance(content, dict) or not content:
        raise TsumugiError(
            f"{path}: holds a {type(content).__name__} with no weights in it; an official .pth is a dict of tensors"
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise TsumugiError(
                f"{path}: {key!r} is a {type(value).__name__}; an official .pth is a dict of tensors alone (of a "
                "trainer's checkpoint, save the weights by themselves)"
            )
        if value.dtype not in DTYPES.values():
            raise TsumugiError(f"{path}: {key} is of type {value.dtype}; readable are {', '.join(DTYPES)}")
    return {key: value.detach() for key, value in content.items()}


def _version(path: Path, keys: Iterable[str]) -> str:
    """4 or 7."""
    keys = list(keys)
    for version, marks in MARKS.items():
        if any(mark in key for key in keys for mark in marks):
            if version in ("4", "7"):
                return version
            raise TsumugiError(f"{path}: looks like RWKV-{version}, which is not supported; RWKV-4 and RWKV-7 are")
    raise TsumugiError(f"{path}: has no key of any RWKV; its keys are {_listed(keys)}")


def _config(path: Path, version: str, shapes: Shapes) -> PretrainedConfig:
    """The sizes. Where layers disagree, most of them are right, and the others will be reported."""

    def size(ending: str, axis: int, dimensions: int) -> int:
        found = Counter(s[axis] for key, s in shapes.items() if key.endswith(ending) and len(s) == dimensions)
        if not found or found.most_common(1)[0][0] == 0:
            raise TsumugiError(
                f"{path}: looks like RWKV-{version}, but no key {ending.lstrip('.')} has {dimensions} dimensions"
            )
        return found.most_common(1)[0][0]

    numbers = [int(number) for key in shapes for number in re.findall(r"^blocks\.(\d+)\.", key)]
    if not numbers:
        raise TsumugiError(
            f"{path}: looks like RWKV-{version}, but no key begins with blocks.0; its keys are {_listed(list(shapes))}"
        )
    layers = 1 + max(numbers)
    if layers > len(shapes):
        raise TsumugiError(f"{path}: names block {layers - 1}, but has only {len(shapes)} keys")
    sizes: dict[str, Any] = {
        "vocab_size": size("emb.weight", 0, 2),
        "hidden_size": size(".ln1.weight", 0, 1),
        "num_hidden_layers": layers,
        "intermediate_size": size(".ffn.key.weight", 0, 2),
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
    }
    if version == "4":
        return RwkvConfig(attention_hidden_size=size(".att.key.weight", 0, 2), rescale_every=0, **sizes)
    width = size(".att.key.weight", 0, 2)
    if width != sizes["hidden_size"]:
        raise TsumugiError(
            f"{path}: RWKV-7 with {width} channels of attention (dim_att) beside a width of {sizes['hidden_size']} "
            "(n_embd) is not supported, nor does RWKV-LM's own code compute with unlike ones"
        )
    head_size = size(".att.r_k", 1, 2)
    if sizes["hidden_size"] % head_size:
        raise TsumugiError(
            f"{path}: looks like RWKV-7, but heads of {head_size} (att.r_k) do not divide a width of "
            f"{sizes['hidden_size']} (ln1.weight)"
        )
    return Rwkv7Config(
        head_size=head_size,
        decay_rank=size(".att.w1", 1, 2),
        rate_rank=size(".att.a1", 1, 2),
        value_rank=size(".att.v1", 1, 2) if layers > 1 or "blocks.0.att.v1" in shapes else None,
        gate_rank=size(".att.g1", 1, 2),
        unused_value_residual=any(f"blocks.0.att.v{part}" in shapes for part in (0, 1, 2)),
        **sizes,
    )


def _set_tokens(path: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase | None) -> None:
    if tokenizer is not None and len(tokenizer) > config.vocab_size:
        raise TsumugiError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the model a vocabulary of {config.vocab_size}; "
            "give the tokenizer that belongs to the model"
        )
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, 0 if tokenizer is None else getattr(tokenizer, name))


def _check_keys(path: Path, version: str, found: Shapes, wanted: Shapes) -> None:
    missing, extra = [key for key in wanted if key not in found], [key for key in found if key not in wanted]
    misshapen = [
        f"{key} {found[key]} instead of {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape
    ]
    problems = {"missing": missing, "not expected": extra, "of another shape": misshapen}
    told = "; ".join(f"{problem}: {_listed(keys)}" for problem, keys in problems.items() if keys)
    if told:
        raise TsumugiError(f"{path}: looks like RWKV-{version}, but has keys that do not fit it. {told}")


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _finite(path: Path, key: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself. The least and the greatest number tell, without a second tensor: a NaN becomes both."""
    if not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(tensor)):
        raise TsumugiError(
            f"{path}: {key} holds NaN or infinity as {str(tensor.dtype).removeprefix('torch.')}; the weights are "
            "damaged, or too large for that type"
        )
    return tensor
