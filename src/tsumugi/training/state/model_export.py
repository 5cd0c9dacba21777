"""From the last checkpoint to a directory that Transformers opens."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tsumugi.atomic import atomic_directory
from tsumugi.training.model_source import ModelSource
from tsumugi.training.state.checkpoint import newest


def export(source: ModelSource, state: Path, output: Path, check: Callable[[], None]) -> None:
    """Write the trained model, or its adapter, with its tokenizer, its metrics and its curves.

    The model is opened anew and takes the checkpoint's weights: an engine may have cut its own into pieces.

    Args:
        check: raises where this job may not write there any more; called last, before ``output`` appears.
    """
    model, tokenizer = source.open()
    trained = newest(state)
    assert trained is not None, "the loop ends with a checkpoint"
    trained.load_weights(model)
    adapter: Mapping[str, Any] | None = source.spec["adapter"]
    with atomic_directory(output) as temporary:
        if adapter is None:
            model.save_pretrained(str(temporary))
        else:
            from peft import PeftModel

            from tsumugi.models.adapters import save_adapter

            assert isinstance(model, PeftModel), "the source puts the adapter on"
            save_adapter(model, temporary, adapter["merge"])
            if adapter["merge"]:
                tokenizer.save_pretrained(str(temporary / "merged"))
        tokenizer.save_pretrained(str(temporary))
        (temporary / "metrics.jsonl").write_text(trained.metrics, encoding="utf-8")
        if (state / "tensorboard").is_dir():
            shutil.copytree(state / "tensorboard", temporary / "tensorboard")
        check()
