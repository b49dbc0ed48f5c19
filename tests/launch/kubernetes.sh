#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kubernetes.sh MANIFEST: checked with whichever python3 has PyYAML; Debian's own is not always the first on PATH.
for python in python3 /usr/bin/python3; do
  command -v "$python" >/dev/null || continue
  "$python" "$(dirname "$0")/kubernetes.py" "$1"
  code=$?
  [ $code -eq 77 ] || exit $code
done
echo "needs python3 with PyYAML (Debian: python3-yaml)"
exit 77
