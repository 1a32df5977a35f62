#!/usr/bin/env bash
# extract.sh PAGE CONFIG BUILD DIRECTORY: writes the files that PAGE, docs/adding_an_algorithm.md, prints, so that they
# are built. Its algorithm is no field of RunConfig: the code gets its options without, and a copy of CONFIG,
# proto/config.proto, gets the field. BUILD must have the dependencies that the page prints.
set -euo pipefail
page="$1" config="$2" build="$3" directory="$4"

# block SECTION N: the Nth block of code in the section of that number.
block() {
  awk -v section="## $1." -v number="$2" '
    /^```/ { inside = !inside; count += inside; next }
    /^## / && !inside { here = index($0, section) == 1; count = 0 }
    inside && here && count == number' "${page}"
}

# Of the library ddpg on standard input, as seen from this package.
dependencies() {
  sed -n '/name = "ddpg"/,/^)/{/^ \{8\}"/p}' | sed 's|":algorithm"|"//algorithm"|; s|":t|"//algorithm:t|; /ddpg/d' | sort
}

block 1 1 >"${directory}/proto/algorithm/ddpg.proto"
awk -v field="$(block 1 3)" '
  /ddpg/ { next }  # where somebody has followed the page
  /^import "proto\/field_options/ { print "import \"proto/algorithm/ddpg.proto\";" }
  { print }
  /oneof algorithm/ { print field }' "${config}" >"${directory}/proto/config.proto"
block 2 1 >"${directory}/algorithm/ddpg.h"
block 3 1 | sed 's/config\.ddpg()/v1::DdpgOptions::default_instance()/' >"${directory}/algorithm/ddpg.cc"
diff <(block 4 2 | dependencies) <(dependencies <"${build}") >&2
