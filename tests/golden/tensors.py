"""Writes golden numbers: tensors by name, in golden.proto's text format."""

import torch


def put_header(script: str) -> None:
    print(f"# Written by {script}.\n# proto-file: tests/golden/golden.proto\n# proto-message: headrace.golden.Tensors")


def put(name: str, tensor: torch.Tensor) -> None:
    values = "".join(f" values: {v!r}" for v in tensor.detach().double().flatten().tolist())
    shape = "".join(f" shape: {n}" for n in tensor.shape)
    print(f'tensors {{ name: "{name}"{shape}{values} }}')
