#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# needed.sh READELF LIBRARY SONAME: the shared library needs what docs/dependencies.md says, and has the right SONAME.
set -eu
readelf=$1 library=$2 soname=$3
status=0
for name in $("$readelf" -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
  case $name in
  libc.so.* | libm.so.* | libpthread.so.* | ld-linux*.so.* | libhwloc.so.* | libssl.so.* | libcrypto.so.* | \
    libexpat.so.* | libyaml-0.so.*) echo "needs $name" ;;
  *)
    echo "needs $name, which docs/dependencies.md does not list for the library"
    status=1
    ;;
  esac
done
found=$("$readelf" -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
if [ "$found" != "$soname" ]; then
  echo "the SONAME is '$found'; expected '$soname'"
  status=1
fi
exit $status
