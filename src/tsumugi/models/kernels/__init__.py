"""The WKV operators of RWKV: reference loop, Numba on a CPU, Triton on a GPU."""
