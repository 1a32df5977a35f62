"""The Python package and common/safetensors read what the other writes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

COPY = sys.argv.pop(1)


class SafetensorsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def copied(self, tensors, metadata=None):
        """What Python reads after Python wrote, C++ read and C++ wrote."""
        save_file(tensors, self.directory / "from", metadata)
        subprocess.run([COPY, self.directory / "from", self.directory / "to"], check=True)
        return load_file(self.directory / "to")

    def test_arrays_of_every_type_and_shape_survive(self):
        random = np.random.default_rng(0)
        tensors = {"scalar": np.array(3.5, np.float32), "empty": np.zeros((0, 4), np.float64)}
        for dtype in ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]:
            for shape in [(1,), (3,), (2, 3), (5, 1, 7)]:
                tensors[f"layer/{dtype}/{shape}"] = (random.random(shape) * 100).astype(dtype)
        copied = self.copied(tensors)
        self.assertEqual(copied.keys(), tensors.keys())
        for name, tensor in tensors.items():
            self.assertEqual(copied[name].dtype, tensor.dtype, name)
            np.testing.assert_array_equal(copied[name], tensor, name)

    def test_metadata_and_names_survive(self):
        metadata = {"run_id": "r-1", "quoted": 'a "b" \\ \n', "unicode": "gütig"}
        self.copied({"größe/ω": np.ones(3, np.float32)}, metadata)
        with safe_open(self.directory / "to", framework="numpy") as file:
            self.assertEqual(file.metadata(), metadata)
            self.assertEqual(list(file.keys()), ["größe/ω"])


if __name__ == "__main__":
    unittest.main()
