#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers.sh ROOT CC: every header compiles alone, so that nobody has to know what to include before it.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"
cc=$2
status=0
for header in $(files '*.h'); do
  case $header in
  trainer/*) # needs oneDNN, which a build without the trainer lacks
    echo '#include <oneapi/dnnl/dnnl.h>' | "$cc" -fsyntax-only -x c - 2>/dev/null || continue
    ;;
  esac
  echo "#include \"$header\"" |
    "$cc" -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -Wno-unknown-pragmas -fsyntax-only -I. -Iinclude -x c - || {
    echo "$header:1: does not compile alone"
    status=1
  }
done
exit $status
