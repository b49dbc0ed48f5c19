#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# readme.sh ROOT: every folder with code opens with a README.md of at most 60 lines. What lies deeper in a folder of
# tests/ belongs to that folder's.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"
status=0
for folder in $(files '*.c' '*.h' '*.sh' CMakeLists.txt | grep / | sed -e 's|/[^/]*$||' -e 's|^\(tests/[^/]*\)/.*|\1|' | sort -u); do
  case $folder in .*) continue ;; esac
  if [ ! -f "$folder/README.md" ]; then
    echo "$folder: has no README.md"
    status=1
    continue
  fi
  lines=$(wc -l <"$folder/README.md")
  if [ "$lines" -gt 60 ]; then
    echo "$folder/README.md: $lines lines; expected at most 60"
    status=1
  fi
done
exit $status
