#!/bin/bash
# Makes the image that all our Dockerfiles start from out of Debian packages, for machines that cannot pull it.
#
#     sudo compose/images/base-image.sh [--force] [TAG]          TAG: python:3.11-slim-bookworm
#
# DEBIAN_MIRROR   where the packages are: any Debian mirror, or file:///media/cdrom with the complete DVD; default: what this
#                 machine's apt uses for bookworm, else debootstrap's own
# CA_FILE         certificates (PEM) that the image shall trust besides Debian's
#
# Needs root, docker and debootstrap; about a minute and 250 MB in TMPDIR. What it makes differs from the official image in
# where Python lies (/usr/bin instead of /usr/local/bin); `python`, `python3`, `pip` and `pip3` are on the PATH of both.
set -euo pipefail

fail() { echo "base-image: $*" >&2; exit 2; }

force=
if [ "${1:-}" = --force ]; then force=1; shift; fi
[ $# -le 1 ] && [ "${1:0:1}" != - ] || fail "usage: base-image.sh [--force] [TAG]"
tag=${1:-python:3.11-slim-bookworm}
[ "$(id -u)" = 0 ] || fail "must run as root: debootstrap makes a root file system"
for tool in docker debootstrap tar; do
    command -v "$tool" >/dev/null || fail "$tool is missing: install it (apt-get install $tool)"
done
docker version >/dev/null 2>&1 || fail "the Docker engine does not answer"
[ -z "${CA_FILE:-}" ] || [ -r "$CA_FILE" ] || fail "CA_FILE=$CA_FILE cannot be read"
if [ -z "$force" ] && docker image inspect "$tag" >/dev/null 2>&1; then
    fail "there is an image $tag already: --force replaces it"
fi
mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 2>/dev/null | head -n 1 || true)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
echo "base-image: fetching and unpacking Debian's packages"
packages=ca-certificates,python3,python3-pip,python3-venv
debootstrap --variant=minbase --include="$packages" bookworm "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 || {
    tail -n 15 "$work/log" >&2
    fail "debootstrap failed: set DEBIAN_MIRROR to a mirror that this machine reaches"
}

ln -sf python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED         # the official image's pip installs, too
if [ -n "${CA_FILE:-}" ]; then
    cp "$CA_FILE" "$root/usr/local/share/ca-certificates/given.crt"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
fi
: >"$root/etc/apt/sources.list"                           # this machine's mirror is nobody else's business
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,info,locale,man}/*

tar -C "$root" -c . | docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    --change 'LABEL org.opencontainers.image.title="Debian bookworm with Python, from Debian packages"' \
    - "$tag" >/dev/null
docker run --rm --network none "$tag" python -c 'import pip, ssl, sys, venv; print("base-image:", sys.version)'
echo "base-image: $tag, $(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000)) MB"
