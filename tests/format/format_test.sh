#!/usr/bin/env bash
# Every C++ and Bazel file of the tree is formatted. The tree is where the WORKSPACE file among this test's data really
# lies: the test reads the sources in place, so that a new file needs no entry in any list to be checked.
set -euo pipefail
workspace="$(dirname "$(readlink -f "${TEST_SRCDIR}/${TEST_WORKSPACE}/WORKSPACE")")"
exec "${workspace}/tools/format" --check
