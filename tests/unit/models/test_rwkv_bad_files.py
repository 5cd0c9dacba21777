"""Official .pth files that are broken, do not fit, or hold more than weights are refused, and run no code."""

import os
import pickle
import re
import tarfile

import pytest
import torch

from rwkv_models import make_rwkv4, make_rwkv7
from tsumugi.errors import TsumugiError
from tsumugi.models.rwkv_files import read_rwkv, write_rwkv


def change(tensors, **changes):
    """A file's tensors with some keys replaced, or removed where the new value is None."""
    return {key: value for key, value in (tensors | changes).items() if value is not None}


BROKEN = {
    "missing": (
        lambda t: change(t, **{"blocks.1.att.key.weight": None}),
        r"looks like RWKV-\d, but .*missing: blocks\.1\.att\.key\.weight$",
    ),
    "extra": (
        lambda t: change(t, **{"blocks.1.ffn.s_emb.weight": torch.zeros(2)}),
        r"looks like RWKV-\d, but .*not expected: blocks\.1\.ffn\.s_emb\.weight$",
    ),
    "misshapen": (
        lambda t: change(t, **{"blocks.2.ffn.key.weight": torch.zeros(9, 5)}),
        r"of another shape: blocks\.2\.ffn\.key\.weight \(9, 5\) instead of \(\d+, \d+\)$",
    ),
    "no embeddings": (lambda t: change(t, **{"emb.weight": None}), r"looks like RWKV-\d, but no key emb\.weight"),
    "far block": (lambda t: change(t, **{"blocks.99999.ln1.weight": torch.zeros(2)}), "names block 99999"),
    "NaN": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"] * float("nan")}), r"ln_out\.bias holds NaN"),
    "infinity": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"] / 0}), r"ln_out\.bias holds NaN or inf"),
    "integers": (lambda t: change(t, **{"ln_out.bias": t["ln_out.bias"].int()}), r"ln_out\.bias is of type torch\.int"),
    "RWKV-5": (
        lambda t: (
            {key.replace("r_k", "q"): t[key] for key in t if not re.search(r"\.(x|k)_|w0", key)}
            | {"blocks.0.att.ln_x.weight": torch.zeros(2), "blocks.0.att.time_decay": torch.zeros(2)}
        ),
        "looks like RWKV-5, which is not supported",
    ),
    "RWKV-6": (
        lambda t: {"emb.weight": t["emb.weight"], "blocks.0.att.time_maa_x": t["ln_out.bias"]},
        "looks like RWKV-6, which is not supported",
    ),
    "a wrapper's names": (
        lambda t: {f"module.{key}": value for key, value in t.items()},
        r"looks like RWKV-\d, but no key begins with blocks\.0; its keys are module\.",
    ),
    "no RWKV": (lambda t: {"wte.weight": torch.zeros(2, 2)}, "has no key of any RWKV; its keys are wte.weight"),
    "a trainer's checkpoint": (lambda t: {"state_dict": t, "step": 3}, "'state_dict' is a dict"),
    "one tensor": (lambda t: t["ln_out.bias"], "holds a Tensor"),
    "nothing": (lambda t: {}, "holds a dict with no weights"),
}


@pytest.mark.parametrize("make", [make_rwkv4, make_rwkv7])
@pytest.mark.parametrize("breakage", BROKEN)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(make, breakage, tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make(), path)
    damage, message = BROKEN[breakage]
    torch.save(damage(torch.load(path, weights_only=True)), path)
    with pytest.raises(TsumugiError, match=message) as caught:
        read_rwkv(path)
    assert str(path) in str(caught.value)


def test_heads_that_do_not_divide_the_width_are_named(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "model.pth")
    tensors = torch.load(tmp_path / "model.pth", weights_only=True)
    torch.save(
        {key: torch.zeros(4, 15) if key.endswith("r_k") else value for key, value in tensors.items()},
        tmp_path / "model.pth",
    )
    with pytest.raises(TsumugiError, match=r"heads of 15 \(att\.r_k\) do not divide a width of 64"):
        read_rwkv(tmp_path / "model.pth")


class Code:
    """Unpickled without care, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [None, 2, 4], ids=["torch.save", "pickle 2", "pickle 4"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(protocol, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "model.pth"
    content = {"emb.weight": Code(trap)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(TsumugiError, match="refused, nothing was run") as caught:
        read_rwkv(path)
    assert "weights_only" not in str(caught.value), "the user is told to run it all the same"
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no file of torch.save"), (b"weights, perhaps" * 9, "no file of torch.save"), (None, "its end is missing")],
    ids=["empty", "text", "truncated"],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(TsumugiError, match=message):
        read_rwkv(path)
    with pytest.raises(TsumugiError, match="cannot be read"):
        read_rwkv(tmp_path / "absent.pth")


def test_a_file_whose_bytes_have_changed_is_damaged(tmp_path):
    path = tmp_path / "model.pth"
    write_rwkv(make_rwkv4(), path)
    whole = path.read_bytes()
    part = whole.index(torch.load(path, weights_only=True)["head.weight"].numpy().tobytes()[:64])
    path.write_bytes(whole[:part] + bytes(64) + whole[part + 64 :])
    with pytest.raises(TsumugiError, match=r"or is damaged .*CRC"):
        read_rwkv(path)


def test_torchs_advice_to_load_without_care_is_never_shown(tmp_path):
    path = tmp_path / "model.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(TsumugiError, match="it is a TorchScript file") as scripted:
        read_rwkv(path)
    write_rwkv(make_rwkv4(), tmp_path / "packed.pth")
    for mode in ("w", "w:gz"):
        with tarfile.open(path, mode) as archive:
            archive.add(tmp_path / "packed.pth", "packed.pth")
        with pytest.raises(TsumugiError, match="is a tar archive") as packed:
            read_rwkv(path)
        assert "weights_only" not in f"{scripted.value} {packed.value}"


def test_rwkv7_with_another_width_of_attention_is_refused_with_the_reason(tmp_path):
    write_rwkv(make_rwkv7(), tmp_path / "model.pth")
    tensors = torch.load(tmp_path / "model.pth", weights_only=True)
    wide = {key: torch.zeros(96, 64) for key in tensors if key.endswith(("att.key.weight", "att.value.weight"))}
    torch.save(tensors | wide, tmp_path / "model.pth")
    with pytest.raises(TsumugiError, match=r"RWKV-7 with 96 channels of attention \(dim_att\) beside a width of 64"):
        read_rwkv(tmp_path / "model.pth")
