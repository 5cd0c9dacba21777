"""The first run after an installation computes what every later one does, bit by bit."""

import os
import subprocess
import sys

GRADIENTS = """
import hashlib, torch
from tsumugi.models.kernels.wkv4 import wkv
from tsumugi.models.kernels.wkv7 import wkv7

torch.set_num_threads(2)
torch.manual_seed(0)
def show(name, output, tensors):
    output.sin().sum().backward()
    for tensor in (output, *(tensor.grad for tensor in tensors)):
        print(name, hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest())

batch, length, channels, heads, size = 2, 50, 96, 3, 32
tensors = [torch.randn(*shape, requires_grad=True) for shape in [(channels,)] * 2 + [(batch, length, channels)] * 2]
show("RWKV-4", wkv(*tensors)[0], tensors)
tensors = [(torch.randn(batch, length, heads, size) / 4).requires_grad_() for _ in range(6)]
show("RWKV-7", wkv7(*tensors)[0], tensors)
"""


def gradients(cache):
    done = subprocess.run(
        [sys.executable, "-c", GRADIENTS], capture_output=True, text=True, env=os.environ | {"NUMBA_CACHE_DIR": cache}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_fresh_from_the_compiler_compute_what_those_out_of_the_cache_do(tmp_path):
    fresh = gradients(str(tmp_path))
    assert fresh.count("RWKV-4") == 5 and fresh.count("RWKV-7") == 7
    assert list(tmp_path.rglob("wkv7_numba.backward*.nbc")), "the compiled code must have been cached"
    assert gradients(str(tmp_path)) == fresh
    for half in tmp_path.rglob("*backward*"):  # as a process leaves it that was killed while it compiled
        half.unlink()
    assert gradients(str(tmp_path)) == fresh
