"""Frees MKL's fast path for programs of other makers, as third_party/mkl_dispatch.cc does for ours: on processors of other
makers than Intel it does not take it by itself."""

import subprocess
from pathlib import Path

_SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


def library(directory: Path) -> Path:
    """Compiles, with `cc`, a library to be preloaded (LD_PRELOAD)."""
    path = directory / "free_mkl.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=_SOURCE, text=True, check=True)
    return path
