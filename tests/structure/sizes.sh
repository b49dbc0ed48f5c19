#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sizes.sh ROOT: files stay under 600 lines, functions under 70. The formatter puts a function's braces in the first
# column, and nothing else's opening one.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"
files '*.c' '*.h' '*.inc' '*.sh' '*.py' check demo | tr '\n' '\0' | xargs -0 awk '
function file_end() {
    if (length_of_file >= 600) { print name ": " length_of_file " lines; expected under 600"; wrong = 1 }
}
FNR == 1 { file_end(); name = FILENAME; start = 0 }
{ length_of_file = FNR }
/^{$/ { start = FNR }
/^}/ && start {
    if (FNR - start - 1 >= 70) { print FILENAME ":" start ": a function of " FNR - start - 1 " lines; expected under 70"; wrong = 1 }
    start = 0
}
END { file_end(); exit wrong }'
