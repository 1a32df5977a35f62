# Written by //third_party:python_wheels.bzl.
package(default_visibility = ["//visibility:public"])

# Runs the Python of the virtual environment, with its packages.
exports_files(["python"])

cc_library(
    name = "torch",
    srcs = glob(
        [
            "cuda/lib/libcudart.so.13",
            "cuda/lib/libstdc++.so.6",
            "torch/lib/libc10*.so",
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libtorch_cuda*.so",
        ],
    ),
    hdrs = glob([
        "cuda/include/**",
        "torch/include/**/*.h",
    ]),
    defines = ["HEADRACE_CUDA=1"] if %{cuda} else [],
    includes = [
        "cuda/include",
        "torch/include",
        "torch/include/torch/csrc/api/include",
    ],
    linkopts = ["-Wl,-rpath,%{torch_lib}"] + %{cuda_linkopts},
    deps = ["@headrace//third_party:mkl_dispatch"],
)

cc_library(
    name = "mujoco",
    srcs = glob(["mujoco/lib/libmujoco.so*"]),
    hdrs = glob(["mujoco/include/mujoco/*.h"]),
    includes = ["mujoco/include"],
    linkopts = ["-Wl,-rpath,%{mujoco_lib}"],
)

filegroup(
    name = "mujoco_models",
    srcs = glob(["gymnasium/assets/*.xml"]),
)
