#!/bin/sh
# Builds visor/base:busybox from the distribution's static busybox: no registry, no network, no
# docker client. Talks to the engine's socket directly.
#
#   sandbox-images/build-offline.sh [unix:///path/to/docker.sock]
#
# The engine defaults to $DOCKER_HOST, then to unix:///var/run/docker.sock. Prints the image's id.
set -eu

host=${1:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
socket=${host#unix://}
case $socket in
/*) ;;
*)
    echo "build-offline: '$host' is no socket of this machine" >&2
    exit 2
    ;;
esac
[ -S "$socket" ] || {
    echo "build-offline: no container engine listens at $socket" >&2
    exit 1
}

for tool in curl tar; do
    command -v "$tool" >/dev/null || {
        echo "build-offline: '$tool' is not installed" >&2
        exit 1
    }
done
busybox=$(command -v busybox || true)
[ -n "$busybox" ] || {
    echo "build-offline: busybox is not installed; on Debian: apt-get install busybox-static" >&2
    exit 1
}
# A busybox that needs libraries would not start in an image that has none.
if ldd "$busybox" 2>/dev/null | grep -q '=>'; then
    echo "build-offline: $busybox is not static; on Debian: apt-get install busybox-static" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/usr/bin" "$root/usr/sbin" "$root/etc" "$root/proc" \
    "$root/sys" "$root/dev" "$root/root" "$root/workspace" "$root/tmp" "$root/var/tmp"
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 0700 "$root/root"
cp "$busybox" "$root/bin/busybox"
chmod 0755 "$root/bin/busybox"
"$root/bin/busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
# Scripts name these paths in their first line.
ln -s ../../bin/env "$root/usr/bin/env"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' \
    >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1\tlocalhost\n' >"$root/etc/hosts"
: >"$root/etc/hostname"
: >"$root/etc/resolv.conf"

# The same bytes each time, so the same busybox gives the same layer.
tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/root.tar" .

query='fromSrc=-&repo=visor/base&tag=busybox'
query="$query&changes=ENV%20PATH%3D/usr/sbin:/usr/bin:/sbin:/bin"
query="$query&changes=USER%2065534:65534&changes=WORKDIR%20/workspace"
answer=$(curl --silent --show-error --fail-with-body --max-time 120 --unix-socket "$socket" \
    --header 'Content-Type: application/x-tar' --data-binary "@$work/root.tar" \
    "http://engine/images/create?$query")
case $answer in
*'"error"'*)
    echo "build-offline: the engine refused: $answer" >&2
    exit 1
    ;;
*)
    echo "visor/base:busybox $(echo "$answer" | grep -o 'sha256:[0-9a-f]*' | tail -n 1)"
    ;;
esac
