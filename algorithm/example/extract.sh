#!/usr/bin/env bash
# extract.sh PAGE CONFIG BUILD DIRECTORY: writes the files that PAGE, docs/adding_an_algorithm.md, prints, so that they
# are built. Its algorithm is no field of RunConfig: the code gets its options without, and a copy of CONFIG,
# proto/config.proto, gets the field. BUILD must have the dependencies that the page prints. Whoever has followed the
# page has the same files elsewhere, so paths and options have other names here.
set -euo pipefail
page="$1" config="$2" build="$3" directory="$4"

# block SECTION N: the Nth block of code in the section of that number.
block() {
  awk -v section="## $1." -v number="$2" '
    /^```/ { inside = !inside; count += inside; next }
    /^## / && !inside { here = index($0, section) == 1; count = 0 }
    inside && here && count == number' "${page}" |
    sed -E 's|DdpgOptions|PrintedDdpgOptions|g; s|(proto/)?algorithm/ddpg\.|algorithm/example/ddpg.|'
}

# Of the library ddpg on standard input, as seen from this package.
dependencies() {
  sed -n '/name = "ddpg"/,/^)/{/^ \{8\}"/p}' | sed 's|":algorithm"|"//algorithm"|; s|":t|"//algorithm:t|; /ddpg/d' | sort
}

block 1 1 >"${directory}/ddpg.proto"
awk -v field="$(block 1 3)" '
  /ddpg/ { next }  # where somebody has followed the page
  /^import "proto\/field_options/ { print "import \"algorithm/example/ddpg.proto\";" }
  { print }
  /oneof algorithm/ { print field }' "${config}" >"${directory}/config.proto"
block 2 1 >"${directory}/ddpg.h"
block 3 1 | sed 's/config\.ddpg()/v1::PrintedDdpgOptions::default_instance()/' >"${directory}/ddpg.cc"
diff <(block 4 2 | dependencies) <(dependencies <"${build}") >&2
