#!/bin/sh
# Runs when all packages are in the target folder: completes it, takes out what belongs to one machine only, and ends the
# build when something that was wanted did not come.
#
#   post-build.sh TARGET_DIR LINUX_DIR BUSYBOX_DIR
#
# From Buildroot's environment: BR2_CONFIG, BINARIES_DIR. It may run again over the same folder.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=$1
linux=$2
busybox=$3
failed=

# The firmware of guests, under Debian's name for flash of 4 MiB.
firmware=$target/usr/share/OVMF
mkdir -p "$firmware"
size=0
for part in CODE VARS; do
	from=$BINARIES_DIR/OVMF_$part.fd
	cp "$from" "$firmware/OVMF_${part}_4M.fd"
	size=$((size + $(wc -c <"$from")))
done
if [ "$size" != 4194304 ]; then
	echo "post-build.sh: OVMF's code and variables are $size bytes together, not 4 MiB" >&2
	failed=yes
fi

# Made anew by each machine: who it is, its keys, its randomness. A copy in the image would be the same on all of them.
rm -f "$target/etc/machine-id" "$target/var/lib/dbus/machine-id" "$target/var/lib/systemd/random-seed"
rm -f "$target"/etc/ssh/ssh_host_*

# Kconfig drops in silence what a release renamed or what lost a dependency.
compare() {
	"$here/check-config" "$@" >&2 || failed=yes
}
compare "$linux/.config" "$here"/linux/*.config
compare "$busybox/.config" "$here/busybox.config"
compare "$BR2_CONFIG" "$here/../../configs/ashlar_x86_64_defconfig"

while read -r path; do
	case $path in
	'' | '#'*) continue ;;
	esac
	if [ ! -e "$target/$path" ] && [ ! -L "$target/$path" ]; then
		echo "post-build.sh: $path is not in the tree" >&2
		failed=yes
	fi
done <"$here/wanted-files"

[ -z "$failed" ]
