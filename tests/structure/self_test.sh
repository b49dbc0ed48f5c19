#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# self_test.sh: each rule holds for a small clean tree, and complains of the right place once it is broken.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
spdx='/* SPDX-License-Identifier: Apache-2.0 */'

# A clean tree of a few folders.
fresh() {
  rm -rf ./*
  for folder in base topology/model transport/core transport/shm transport/sim collectives/plan tools include/weft \
    tests/base; do
    mkdir -p "$folder"
    printf '%s\nint x;\n' "$spdx" >"$folder/a.c"
    printf '%s\nextern int x;\n' "$spdx" >"$folder/a.h"
    echo "# $folder" >"$folder/README.md"
  done
  echo 'Apache License' >LICENSE
  printf '# SPDX-License-Identifier: Apache-2.0\nforeach(folder\n    base topology/model\n    transport/core transport/shm transport/sim\n    collectives/plan tools)\nendforeach()\n' >CMakeLists.txt
}

failures=0
expect_clean() {
  for rule in include_direction readme environment license sizes headers; do
    if ! output=$(sh "$here/$rule.sh" . cc 2>&1); then
      echo "$rule complains of a clean tree ($1): $output"
      failures=$((failures + 1))
    fi
  done
}
# expect RULE PLACE: it fails, and names the place.
expect() {
  if output=$(sh "$here/$1.sh" . cc 2>&1); then
    echo "$1 does not see what is wrong with $2"
    failures=$((failures + 1))
  elif ! echo "$output" | grep -q "^$2"; then
    echo "$1 does not name $2, but says: $output"
    failures=$((failures + 1))
  fi
  fresh
}
add() {
  echo "$2" >>"$1"
}

fresh
expect_clean "as made"
add transport/shm/a.c '#include "transport/core/a.h"'
add transport/shm/a.c '#include "base/a.h"'
add collectives/plan/a.c '#include "topology/model/a.h"'
add collectives/plan/a.c '#include <weft/a.h>'
add tools/a.c '#include "tools/a.h"'
mkdir tools/part bench
echo "# part" | tee tools/part/README.md >bench/README.md
printf '%s\n#include "tools/a.h"\n' "$spdx" >tools/part/b.c
printf '%s\n#include "base/a.h"\n' "$spdx" >bench/b.c
add tests/base/a.c '#include "base/a_internal.h"'
add tests/base/a.c 'char *y = getenv("HOME");'
add base/a.c '/* getenv() is not used here */'
expect_clean "with what is allowed"
fresh

add base/a.c '#include "topology/model/a.h"'
expect include_direction base/a.c:3
add base/a.c '#include <topology/model/a.h>'
expect include_direction base/a.c:3
add transport/sim/a.c '#  include "transport/shm/a.h"'
expect include_direction transport/sim/a.c:3
add collectives/plan/a.c '#include "transport/core/a.h"'
expect include_direction collectives/plan/a.c:3
add tools/a.c '#include "base/a.h"'
expect include_direction tools/a.c:3
add topology/model/a.c '#include "base/a_internal.h"'
expect include_direction topology/model/a.c:3
add topology/model/a.c '#include <pthread.h>'
expect include_direction topology/model/a.c:3
add include/weft/a.h '#include "base/a.h"'
expect include_direction include/weft/a.h:3
mkdir extra
add extra/a.c '#include "base/a.h"'
expect include_direction extra/a.c:1

rm transport/shm/README.md
expect readme transport/shm:
yes line | head -n 61 >base/README.md
expect readme base/README.md:
add tools/a.c 'int main(void) { return getenv("HOME") == 0; }'
expect environment tools/a.c:3
add tools/a.c 'extern char **environ; char **z(void) { return environ; }'
expect environment tools/a.c:3
echo 'int x;' >base/a.c
expect license base/a.c:1
echo 'no license' >LICENSE
expect license LICENSE
yes 'extern int x;' | head -n 600 >base/a.h
expect sizes base/a.h:
{
  echo 'int f(void)'
  echo '{'
  yes '    x = 1;' | head -n 70
  echo '}'
} >>base/a.c
expect sizes base/a.c:4
add base/a.h 'extern size_t y;'
expect headers base/a.h:

[ $failures -eq 0 ] && echo "every rule can fail"
