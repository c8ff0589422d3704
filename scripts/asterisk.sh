#!/usr/bin/env bash
# Puts a real Asterisk with its headers into the user's cache folder, once, and prints where: the last line on stdout is
# the root folder. The tests against a real Asterisk call it themselves.
# Usage: scripts/asterisk.sh [22|16]     22: Debian sid (the default), with valgrind; 16: Debian 11
#        (DEBIAN_MIRROR=address for another mirror than debootstrap's own)
#
# The packages are only downloaded (debootstrap checks their signatures) and unpacked, never configured, and Asterisk is
# run by the root's own dynamic linker with an asterisk.conf whose folders point into the root:
#     LIB=ROOT/usr/lib/x86_64-linux-gnu; $LIB/ld-linux-x86-64.so.2 --library-path $LIB ROOT/usr/sbin/asterisk -C FILE -f -n
# So neither making it nor running it needs root rights, chroot, mounts or device nodes, which a build container may not
# have. A root made by a whole `debootstrap --variant=minbase --include=asterisk sid ROOT` serves as well.
set -euo pipefail

fail() {
    printf 'asterisk.sh: %s\n' "$@" >&2
    exit 1
}

cache=${XDG_CACHE_HOME:-${HOME:?asterisk.sh: set HOME or XDG_CACHE_HOME}/.cache}/mgw/asterisk
packages=asterisk,asterisk-dev
case "${1:-22}" in
    22) suite=sid root=$cache/root packages=$packages,valgrind,libc6-dbg whole=usr/bin/valgrind ;;
    16) suite=bullseye root=$cache/root-16 whole=usr/include/asterisk.h ;;
    *) fail "Asterisk $1 is not one of 22 and 16" ;;
esac
# A root of a former version of this script has no headers.
complete() {
    [ -x "$root/usr/sbin/asterisk" ] && [ -e "$root/$whole" ]
}

if ! complete; then
    # debootstrap lies in /usr/sbin, which ordinary users may not have in their path.
    PATH=$PATH:/usr/sbin:/sbin
    for tool in debootstrap dpkg-deb flock; do
        command -v "$tool" >/dev/null || fail "$tool is missing: run scripts/setup.sh test, or as root: apt-get install debootstrap debian-archive-keyring"
    done
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        fail "the keys of Debian's packages are missing: run scripts/setup.sh test, or as root: apt-get install debian-archive-keyring"
    mkdir -p "$cache" || fail "cannot write to $cache: set XDG_CACHE_HOME to a folder that you can write to"

    # One at a time; who waited finds the work done. The lock goes with the process, however that ends.
    exec 9>"$cache/lock"
    flock 9
    if ! complete; then
        partial=$root.partial
        download=$root.download
        # What an interrupted run has left; `root` itself appears by a rename only when it is whole.
        rm -rf "$partial" "$download"
        mkdir "$partial"
        echo "asterisk.sh: downloading Asterisk ${1:-22} from Debian $suite into $cache (once, about 150 MB)" >&2
        if ! debootstrap --download-only --variant=minbase --include="$packages" "$suite" "$download" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
            >"$root.log" 2>&1 9>&-; then
            tail -n 5 "$root.log" >&2
            fail "the download failed (all of it: $root.log)" \
                "it needs a Debian mirror over HTTP: check the network and http_proxy, or name a mirror: DEBIAN_MIRROR=address $0" \
                "or copy $root from a machine that has one"
        fi
        for package in "$download"/var/cache/apt/archives/*.deb; do
            dpkg-deb -x "$package" "$partial" 9>&- || fail "cannot unpack $package (disk full? 500 MB are needed in $cache)"
        done
        [ -x "$partial/usr/sbin/asterisk" ] || fail "no asterisk among the packages: see $root.log"
        # An Asterisk that runs from the old root goes on: its files live until it ends.
        rm -rf "$download" "$root.old"
        [ ! -e "$root" ] || mv "$root" "$root.old"
        mv "$partial" "$root"
        rm -rf "$root.old"
    fi
fi
printf '%s\n' "$root"
