#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers.sh INCLUDE CC CXX: each public header compiles alone, as C11 and as C++11, without a warning.
set -eu
include=$1 cc=$2 cxx=$3
status=0
for header in "$include"/weft/*.h; do
  name=weft/${header##*/}
  echo "$name"
  echo "#include <$name>" | "$cc" -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$include" -x c - || status=1
  echo "#include <$name>" | "$cxx" -std=c++11 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$include" -x c++ - ||
    status=1
done
exit $status
