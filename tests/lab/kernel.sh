# SPDX-License-Identifier: Apache-2.0
# Debian's stock kernel and a first file system for it, made once and kept. Source it; kernel_folder prints the folder
# with `vmlinux`, `initramfs` and, where there is a compiler, `tsc` (tsc.c); or says what is missing and returns 77.

# In the order of need; what they depend on comes with them. rdma_rxe needs a crc32 that it does not name.
kernel_modules=(virtio_pci virtio_rng virtio_console virtio_net 9pnet_virtio 9p overlay sch_netem
  crc32_generic crc32_pclmul rdma_rxe ib_uverbs rdma_ucm)

kernel_skip() {
  echo "needs $*"
  return 77
}

# The uncompressed kernel out of a bzImage: an emulated processor takes seconds to unpack it. Offsets are those of the
# x86 boot protocol: setup_sects (0x1f1), payload_offset (0x248), payload_length (0x24c).
kernel_unpack() (
  set +o pipefail # each reader stops before its writer does
  image=$1
  sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$image")
  offset=$(od -An -tu4 -j $((0x248)) -N 4 "$image")
  length=$(od -An -tu4 -j $((0x24c)) -N 4 "$image")
  tail -c "+$(((sectors + 1) * 512 + offset + 1))" "$image" | head -c "$length" | xz --decompress --single-stream
)

# initramfs_make MODULES-ROOT VERSION FOLDER: busybox, the modules with a list in loading order, and init.
initramfs_make() {
  local root=$1 version=$2 tree=$3/tree module path
  mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/newroot"
  cp "$(command -v busybox)" "$tree/bin/busybox"
  cp "$here/init" "$tree/init"
  depmod --basedir "$root" "$version"
  for module in "${kernel_modules[@]}"; do
    modprobe --dirname "$root" --set-version "$version" --show-depends --ignore-install "$module" 2>/dev/null |
      sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | awk '!seen[$0]++' >"$3/paths"
  while read -r path; do
    cp "$path" "$tree/modules/"
    echo "${path##*/}"
  done <"$3/paths" >"$tree/modules/list"
  grep -q '^rdma_rxe.ko$' "$tree/modules/list" || return 1
  (cd "$tree" && find . | cpio --quiet -o -H newc) >"$3/initramfs"
  rm -rf "$tree" "$3/paths"
}

# kernel_make FOLDER: fetch the package, take from it what is needed, in place when complete.
kernel_make() {
  local folder=$1 package version tool
  for tool in apt-get:apt dpkg-deb:dpkg depmod:kmod modprobe:kmod cpio:cpio xz:xz-utils; do
    command -v "${tool%:*}" >/dev/null || kernel_skip "${tool%:*}, of Debian's package ${tool#*:}" || return
  done
  ldd "$(command -v busybox)" >/dev/null 2>&1 && { kernel_skip "busybox-static instead of busybox" || return; }
  package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  [ -n "$package" ] || kernel_skip "Debian's kernel; there is no package linux-image-amd64" || return
  rm -rf "$folder.new"
  mkdir -p "$folder.new/package" || return
  (cd "$folder.new" && apt-get download -qq "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb package) ||
    kernel_skip "the package $package, which cannot be fetched" || return
  version=${package#linux-image-}
  kernel_unpack "$folder.new/package/boot/vmlinuz-$version" >"$folder.new/vmlinux" &&
    initramfs_make "$folder.new/package" "$version" "$folder.new" || {
    echo "cannot make a first file system out of $package" >&2
    return 125
  }
  ! command -v cc >/dev/null || cc -O2 -o "$folder.new/tsc" "$here/tsc.c" || return
  rm -rf "$folder.new/package" "$folder.new"/*.deb
  mv "$folder.new" "$folder"
}

# The name carries what the content depends on, so that a change here makes a new one.
kernel_folder() {
  local cache=${WEFT_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weft-lab} folder
  folder=$cache/$(cat "$here/kernel.sh" "$here/init" "$here/tsc.c" | sha256sum | head -c 16)
  mkdir -p "$cache" || return
  (
    flock 9
    [ -e "$folder/initramfs" ] || kernel_make "$folder"
  ) 9>"$cache/lock" >&2 || return
  echo "$folder"
}
