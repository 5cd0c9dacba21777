"""A check of what a model is given, with an error that says more than an index that is out of range."""

import torch

from tsumugi.errors import TsumugiError


def check_ids(ids: torch.Tensor, vocab_size: int) -> None:
    """Every one must be below ``vocab_size``. On a GPU nothing is checked: it would have to be waited for.

    Raises:
        TsumugiError: one is not, as where a tokenizer does not belong to the model.
    """
    if ids.device.type != "cpu" or ids.numel() == 0:
        return
    lowest, highest = (int(value) for value in torch.aminmax(ids))
    if lowest < 0 or highest >= vocab_size:
        wrong = lowest if lowest < 0 else highest
        raise TsumugiError(
            f"token id {wrong}: the model knows 0 to {vocab_size - 1}; was the text encoded with its own tokenizer?"
        )
