"""The repository @wheels: C++ libraries and data that arrive as Python wheels in the virtual environment.

tools/setup installs the wheels; this rule asks the environment's Python where they lie and links to them.
LibTorch's copies of protobuf's and fmt's headers are left out: they would shadow the system's.
"""

_TORCH_HEADERS = ["ATen", "c10", "caffe2", "torch"]

def _site_packages(context, venv):
    python = venv.get_child("bin").get_child("python")
    if not python.exists:
        fail("no Python environment at %s: run tools/setup first" % venv)
    result = context.execute([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"])
    if result.return_code != 0:
        fail("%s does not run: %s" % (python, result.stderr))
    return context.path(result.stdout.strip())

def _python_wheels_impl(context):
    venv = context.path(Label("//:WORKSPACE")).dirname.get_child(context.os.environ.get("HEADRACE_VENV", context.attr.venv))
    packages = _site_packages(context, venv)
    for wheel in ["torch", "mujoco", "gymnasium"]:
        if not packages.get_child(wheel).exists:
            fail("the wheel %s is missing in %s: run tools/setup" % (wheel, venv))

    # PyPI's LibTorch is a CUDA build. Without --config=cuda its part for CUDA is left out, and libtorch.so, which loads it.
    torch = packages.get_child("torch")
    is_cuda_build = torch.get_child("lib").get_child("libtorch_cuda.so").exists
    with_cuda = is_cuda_build and "HEADRACE_VENV" in context.os.environ
    for header in _TORCH_HEADERS:
        context.symlink(torch.get_child("include").get_child(header), "torch/include/" + header)
    for library in torch.get_child("lib").readdir():
        if with_cuda or not ("cuda" in library.basename or library.basename == "libtorch.so"):
            context.symlink(library, "torch/lib/" + library.basename)

    cuda_linkopts = []
    if is_cuda_build:
        # Its libraries, libtorch_cpu.so among them, look for those of CUDA beside themselves, which is not where Bazel
        # links to them: the binary says where they are, by the older of the two kinds of run path, which holds for
        # libraries of libraries, too.
        cuda_linkopts = ["-Wl,--disable-new-dtags"] + [
            "-Wl,-rpath,%s" % part.get_child("lib")
            for part in packages.get_child("nvidia").readdir()
        ]

        # They export a std::filesystem of their own, of another layout than ours: the system's must be found first.
        library = context.execute(["g++", "-print-file-name=libstdc++.so.6"]).stdout.strip()
        context.symlink(library, "cuda/lib/libstdc++.so.6")
    if with_cuda:
        # CUDA's own headers and runtime, which LibTorch's headers for CUDA include and ours calls.
        cuda = packages.get_child("nvidia").get_child("cu13")
        context.symlink(cuda.get_child("include"), "cuda/include")
        context.symlink(cuda.get_child("lib").get_child("libcudart.so.13"), "cuda/lib/libcudart.so.13")

    mujoco = packages.get_child("mujoco")
    context.symlink(mujoco.get_child("include").get_child("mujoco"), "mujoco/include/mujoco")
    for library in mujoco.readdir():
        if library.basename.startswith("libmujoco.so"):
            context.symlink(library, "mujoco/lib/" + library.basename)

    context.symlink(packages.get_child("gymnasium").get_child("envs").get_child("mujoco").get_child("assets"), "gymnasium/assets")

    # Not a link: Python finds its packages by the path it is started with.
    context.file("python", "#!/bin/sh\nexec '%s' \"$@\"\n" % venv.get_child("bin").get_child("python"), executable = True)
    context.template(
        "BUILD.bazel",
        Label("//third_party:wheels.BUILD.tpl"),
        substitutions = {
            "%{cuda}": str(with_cuda),
            "%{cuda_linkopts}": str(cuda_linkopts),
            "%{torch_lib}": str(torch.get_child("lib").realpath),
            "%{mujoco_lib}": str(mujoco.realpath),
        },
    )

python_wheels = repository_rule(
    implementation = _python_wheels_impl,
    attrs = {"venv": attr.string(mandatory = True, doc = "the virtual environment, relative to the workspace")},
    environ = ["HEADRACE_VENV"],
    local = True,
)
