"""Fuzz tests: libFuzzer against what decodes bytes from the wire or from disk."""

# Of the undefined behaviour sanitizer what is cheap to compile: the rest doubles the time, and the address sanitizer
# sees most of it.
_SANITIZERS = "-fsanitize=address,bounds,float-cast-overflow,integer-divide-by-zero,shift,signed-integer-overflow"

def _without_sanitizers(options):
    return [option for option in options if not option.startswith("-fsanitize")]

# Whatever the build is configured for: a fuzzed program and all of our code in it have these sanitizers, and report what
# they reach.
def _instrumented_impl(settings, attr):
    copt = _without_sanitizers(settings["//command_line_option:copt"])
    linkopt = _without_sanitizers(settings["//command_line_option:linkopt"])
    return {
        "//command_line_option:copt": copt + [
            _SANITIZERS,
            "-fsanitize=fuzzer-no-link",
            "-fno-sanitize-recover=all",
            "-O1",
            "-gline-tables-only",
        ],
        "//command_line_option:linkopt": linkopt + [_SANITIZERS, "-fsanitize=fuzzer"],
    }

_instrumented = transition(
    implementation = _instrumented_impl,
    inputs = ["//command_line_option:copt", "//command_line_option:linkopt"],
    outputs = ["//command_line_option:copt", "//command_line_option:linkopt"],
)

# Arguments come last, so that they override what is set here. Logs of what is refused are not written.
_RUN = """#!/usr/bin/env bash
set -euo pipefail
export ASAN_OPTIONS="malloc_context_size=5:quarantine_size_mb=16:${{ASAN_OPTIONS:-}}"
found="$(mktemp -d -p "${{TEST_TMPDIR:-/tmp}}")"
exec '{program}' -runs={runs} -seed=1 -max_len=4096 -timeout=30 -malloc_limit_mb={malloc_mb} -rss_limit_mb=1024 \\
  -close_fd_mask=2 -print_final_stats=1 -artifact_prefix="${{TEST_UNDECLARED_OUTPUTS_DIR:-.}}/" "$@" "$found" '{corpus}'
"""

def _fuzz_run_test_impl(ctx):
    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(script, is_executable = True, content = _RUN.format(
        program = ctx.executable.program.short_path,
        runs = ctx.attr.new_inputs + len(ctx.files.corpus),
        malloc_mb = ctx.attr.malloc_mb,
        corpus = ctx.files.corpus[0].dirname,
    ))
    return [DefaultInfo(
        executable = script,
        runfiles = ctx.runfiles(files = [ctx.executable.program] + ctx.files.corpus),
    )]

_fuzz_run_test = rule(
    implementation = _fuzz_run_test_impl,
    test = True,
    attrs = {
        "corpus": attr.label_list(allow_files = True, mandatory = True),
        "malloc_mb": attr.int(),
        "new_inputs": attr.int(),
        "program": attr.label(cfg = _instrumented, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def fuzz_test(name, deps, new_inputs = 100000, malloc_mb = 64):
    """A test that runs NAME.cc, which has LLVMFuzzerTestOneInput, over a corpus and then over inputs made from it.

    The corpus is every file in testdata/fuzz/NAME; what once was a bug has its input there. A failure leaves its input
    among the outputs of the test.

    Args:
      name: of the test, by custom ending in _fuzz.
      deps: of NAME.cc.
      new_inputs: how many inputs to try besides the corpus.
      malloc_mb: the most that may be allocated at once, in MiB.
    """
    native.cc_binary(
        name = name + "_program",
        testonly = True,
        srcs = [name + ".cc"],
        tags = ["manual"],  # by itself, without the instruments, it has no main
        deps = deps,
    )
    _fuzz_run_test(
        name = name,
        size = "medium",
        corpus = native.glob(["testdata/fuzz/%s/*" % name]),
        malloc_mb = malloc_mb,
        new_inputs = new_inputs,
        program = name + "_program",
    )
