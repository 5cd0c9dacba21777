"""LoRA through PEFT: put on, saved with its alpha, folded in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from tsumugi.errors import TsumugiError


def add_lora(model: PreTrainedModel, lora: Mapping[str, Any], base: str) -> PeftModel:
    """Freeze ``model`` and put LoRA on the modules that the config names; ``base`` is where its weights lie."""
    targets = lora["target_modules"]
    config = LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise TsumugiError(f"adapter.lora.target_modules: {str(error).splitlines()[0]}") from error
    adapted.peft_config["default"].base_model_name_or_path = base.removeprefix("hub:")
    return adapted


def save_adapter(model: PeftModel, directory: Path, merge: bool) -> None:
    """Write ``adapter/``, and with ``merge`` the whole model with the adapter folded in as ``merged/``."""
    # The embeddings are never trained here; PEFT would look for the base on the hub to find that out.
    model.save_pretrained(str(directory / "adapter"), safe_serialization=True, save_embedding_layers=False)
    if merge:
        model.merge_and_unload().save_pretrained(str(directory / "merged"))
