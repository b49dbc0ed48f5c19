#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# environment.sh ROOT: only base/config.c reads the environment. Tests may: they prepare it for others.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"
found=$(files '*.c' '*.h' '*.inc' | grep -v -e '^tests/' -e '^base/config\.c$' | tr '\n' '\0' |
  xargs -0 grep -nE '\<((secure_)?getenv|__environ) *\(|\<environ\> *[^a-zA-Z), ]' /dev/null |
  grep -vE ':[0-9]+: *(/?\*|//)' || true)
[ -z "$found" ] || {
  echo "$found" | sed 's/$/    reads the environment; base\/config.h is the door/'
  exit 1
}
