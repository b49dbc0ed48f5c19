#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# installed.sh CMAKE BUILD CONSUMER VERSION CC LIBDIR: install, move the tree, and build and run a program from it in
# each of the ways that the README names.
set -eu
cmake=$1 build=$2 consumer=$3 version=$4 cc=$5 libdir=$6
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for component in library development; do
  "$cmake" --install "$build" --prefix "$work/first" --component $component >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
done
mv "$work/first" "$work/moved"
prefix=$work/moved
# The modules that were built are found beside the library.
for module in "$build"/library/weft/*.so; do
  [ ! -e "$module" ] || [ -e "$prefix/$libdir/weft/${module##*/}" ] || {
    echo "${module##*/} was built and not installed"
    exit 1
  }
done

# run NAME PROGRAM: it prints the version, so that a library picked up from elsewhere would show.
run() {
  output=$("$2")
  echo "$1: $output"
  [ "$output" = "weft $version: plan of 4 ranks proved, sum of 2 ranks right" ]
}

for kind in weft weft_static; do
  "$cmake" -S "$consumer" -B "$work/$kind" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" -DLIBRARY=weft::$kind \
    >"$work/log" 2>&1 && "$cmake" --build "$work/$kind" >>"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
  run "find_package, weft::$kind" "$work/$kind/consumer"
done

if ! command -v pkg-config >/dev/null; then
  echo "needs pkg-config for the rest"
  exit 77
fi
PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
[ "$(pkg-config --modversion weft)" = "$version" ]
flags=$(pkg-config --cflags --libs weft)
# shellcheck disable=SC2086 # flags are words
"$cc" -o "$work/shared" "$consumer/main.c" $flags
LD_LIBRARY_PATH=$(pkg-config --variable=libdir weft)
export LD_LIBRARY_PATH
run "pkg-config" "$work/shared"
unset LD_LIBRARY_PATH

# -lweft prefers the shared library where both are installed: a static link is asked for by taking it away.
rm "$prefix/$libdir"/libweft.so*
flags=$(pkg-config --static --cflags --libs weft)
# shellcheck disable=SC2086
"$cc" -o "$work/static" "$consumer/main.c" $flags
run "pkg-config --static" "$work/static"
