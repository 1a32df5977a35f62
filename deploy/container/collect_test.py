"""What an image gets: also the libraries that others load by name, and nothing of the node's driver. The libraries are
made here, and lie as those of the wheels of LibTorch and CUDA do."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

COLLECT = "deploy/container/collect"
BINARIES = ("actor/actor", "learner/learner", "replay/replay")
SYSTEM = {"libc.so.6"}
# Where Bazel links to what is linked with, each library alone.
SOLIB = "bin/_solib"
TORCH, CUDNN, CUDA = "torch/lib", "nvidia/cudnn/lib", "nvidia/cu13/lib"
# Path, and what it is linked with, which comes before it. As readelf shows it of torch 2.11.0 for CUDA 13.
LIBRARIES = {
    "driver/libcuda.so.1": [],
    f"{CUDA}/libcublas.so.13": [],
    f"{CUDA}/libcusolver.so.12": ["libcublas.so.13"],
    f"{CUDA}/libnvrtc-builtins.alt.so.13.0": [],
    f"{CUDA}/libnvrtc-builtins.so.13.0": [],
    f"{CUDA}/libnvrtc.so.13": [],
    f"{CUDNN}/libcudnn.so.9": [],
    f"{CUDNN}/libcudnn_graph.so.9": [],
    f"{CUDNN}/libcudnn_ops.so.9": ["libcudnn_graph.so.9"],
    f"{TORCH}/libtorch_cuda.so": ["libcudnn.so.9", "libcublas.so.13"],
    f"{TORCH}/libtorch_cuda_linalg.so": ["libtorch_cuda.so", "libcusolver.so.12"],
    f"{TORCH}/libcaffe2_nvrtc.so": ["libnvrtc.so.13", "libcuda.so.1"],
    f"{TORCH}/libtorch_python.so": ["libtorch_cuda.so"],
}


class CollectTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.image = self.root / "image"
        (self.root / "empty.c").write_text("", encoding="utf-8")
        (self.root / "main.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
        for path, needs in LIBRARIES.items():
            self.link(path, "empty.c", needs, "-shared", f"-Wl,-soname,{Path(path).name}")
        (self.root / SOLIB).mkdir(parents=True)
        (self.root / SOLIB / "libtorch_cuda.so").symlink_to(self.root / TORCH / "libtorch_cuda.so")
        for binary in BINARIES:
            self.link(f"bin/{binary}", "main.c", ["libtorch_cuda.so"] if binary == "learner/learner" else [])

    def link(self, path: str, source: str, needs: list[str], *options: str) -> None:
        output = self.root / path
        output.parent.mkdir(parents=True, exist_ok=True)
        up = "/".join([".."] * (len(Path(path).parts) - 1))
        torch = SOLIB if source == "main.c" else TORCH
        rpath = ":".join(f"$ORIGIN/{up}/{directory}" for directory in (torch, CUDNN, CUDA))
        libraries = [str(next(self.root.glob(f"**/{name}"))) for name in needs]
        words = ["clang", *options, "-o", str(output), str(self.root / source), "-Wl,--no-as-needed", *libraries]
        words += [f"-Wl,-rpath,{rpath}", "-Wl,--allow-shlib-undefined", f"-Wl,-rpath-link,{self.root / 'driver'}"]
        subprocess.run(words, check=True)

    def collect(self) -> subprocess.CompletedProcess[str]:
        command = [COLLECT, str(self.root / "bin"), str(self.image)]
        environment = {**os.environ, "REVISION": "abc"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def test_libraries_that_are_loaded_by_name_come_with_those_that_load_them(self) -> None:
        result = self.collect()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.image / self.loader()).is_file())
        placed = {path.name for path in (self.image / "opt/headrace/lib").iterdir()}
        left_out = {"libcuda.so.1", "libnvrtc-builtins.alt.so.13.0", "libtorch_python.so"}
        self.assertEqual(placed, {Path(path).name for path in LIBRARIES} - left_out | SYSTEM)
        for binary in BINARIES:
            self.assertTrue((self.image / "opt/headrace" / binary).is_file())
        self.assertEqual((self.image / "opt/headrace/REVISION").read_text(encoding="utf-8"), "abc\n")

    def loader(self) -> str:
        words = subprocess.run(["ldd", str(self.root / "bin/actor/actor")], capture_output=True, text=True, check=True)
        return next(word for word in words.stdout.split() if "ld-linux" in word).removeprefix("/")

    def test_what_is_loaded_by_name_and_missing_is_named(self) -> None:
        (self.root / CUDA / "libnvrtc-builtins.so.13.0").unlink()
        result = self.collect()
        self.assertEqual(result.returncode, 1)
        self.assertIn("libnvrtc.so.13 opens libnvrtc-builtins.so.*, which is not beside it", result.stderr)

    def test_what_is_linked_with_and_missing_is_named(self) -> None:
        (self.root / CUDA / "libcusolver.so.12").unlink()
        result = self.collect()
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"libtorch_cuda_linalg.so needs what is not here:\n\s*libcusolver.so.12 => not")

    def test_the_drivers_libraries_are_the_nodes_even_where_there_are_some(self) -> None:
        (self.root / "driver/libcuda.so.1").rename(self.root / CUDA / "libcuda.so.1")
        self.assertEqual(self.collect().returncode, 0)
        self.assertFalse((self.image / "opt/headrace/lib/libcuda.so.1").exists())


class DockerfileTest(unittest.TestCase):
    """The first stage is not run by any test: it is a first build, and needs a network. Here its words are compared
    with what they name; container_test.py runs it with stand-ins for the programs."""

    def test_the_first_stage_calls_what_there_is(self) -> None:
        text = Path("deploy/container/Dockerfile").read_text(encoding="utf-8")
        (run,) = re.findall(r"^RUN (.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
        setup, build, collect = (step.split() for step in run.replace("\\\n", " ").split("&&"))
        self.assertEqual(setup, ["tools/setup", "${CUDA:+--cuda}"])
        usage = subprocess.run(["tools/setup", "--help"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(usage, r"(?m)^\s*tools/setup --cuda ")
        self.assertEqual(build[:3], ["bazel", "build", "${CUDA:+--config=cuda}"])
        self.assertRegex(Path(".bazelrc").read_text(encoding="utf-8"), r"(?m)^build:cuda ")
        self.assertEqual(build[3:], [f"//{Path(binary).parent}" for binary in BINARIES])
        self.assertEqual(collect, [COLLECT, "bazel-bin", "/image"])


if __name__ == "__main__":
    unittest.main()
