#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# license.sh ROOT: every source file names its license in its first three lines.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"
status=0
for file in $(files '*.c' '*.h' '*.inc' '*.cpp' '*.sh' '*.py' '*.cmake' '*.cmake.in' '*.map' CMakeLists.txt check demo run); do
  if ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2\.0'; then
    echo "$file:1: no line SPDX-License-Identifier: Apache-2.0"
    status=1
  fi
done
grep -q 'Apache License' LICENSE || {
  echo "LICENSE: is not the Apache License"
  status=1
}
exit $status
