#!/usr/bin/env bash
# Puts a real Asterisk 22 (Debian sid) into the user's cache folder, once, and prints where: the last line on stdout is
# the root folder. The tests against a real Asterisk call it themselves.
# Usage: scripts/asterisk.sh     (DEBIAN_MIRROR=address for another mirror than debootstrap's own)
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
root=$cache/root

if [ ! -x "$root/usr/sbin/asterisk" ]; then
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
    if [ ! -x "$root/usr/sbin/asterisk" ]; then
        partial=$cache/root.partial
        download=$cache/download.partial
        # What an interrupted run has left; `root` itself appears by a rename only when it is whole.
        rm -rf "$partial" "$download"
        mkdir "$partial"
        echo "asterisk.sh: downloading Asterisk from Debian sid into $cache (once, about 100 MB)" >&2
        if ! debootstrap --download-only --variant=minbase --include=asterisk sid "$download" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
            >"$cache/debootstrap.log" 2>&1 9>&-; then
            tail -n 5 "$cache/debootstrap.log" >&2
            fail "the download failed (all of it: $cache/debootstrap.log)" \
                "it needs a Debian mirror over HTTP: check the network and http_proxy, or name a mirror: DEBIAN_MIRROR=address $0" \
                "or copy $root from a machine that has one"
        fi
        for package in "$download"/var/cache/apt/archives/*.deb; do
            dpkg-deb -x "$package" "$partial" 9>&- || fail "cannot unpack $package (disk full? 500 MB are needed in $cache)"
        done
        [ -x "$partial/usr/sbin/asterisk" ] || fail "no asterisk among the packages: see $cache/debootstrap.log"
        rm -rf "$download" "$root"
        mv "$partial" "$root"
    fi
fi
printf '%s\n' "$root"
