#!/bin/sh
# Gives the tree that goes into the archive the shape of Debian's, so that one list of files can choose from either. Runs
# over a copy: in the folder that packages are built into, Buildroot wants its own shape.
#
#   post-fakeroot.sh TARGET_DIR
set -eu

target=$1

# The kernel bears its release.
release=$(ls "$target/usr/lib/modules")
case $release in
'' | *[!A-Za-z0-9.+_-]*)
	echo "post-fakeroot.sh: expected the modules of one kernel, found: $release" >&2
	exit 1
	;;
esac
mv "$target/boot/bzImage" "$target/boot/vmlinuz-$release"

# Buildroot's usr/sbin and usr/lib64 are links to a folder. Here they are folders of links, under which the same files are
# found by their own names.
if [ -L "$target/usr/sbin" ]; then
	rm "$target/usr/sbin"
	mkdir "$target/usr/sbin"
	for program in "$target"/usr/bin/*; do
		name=${program##*/}
		ln -s "../bin/$name" "$target/usr/sbin/$name"
	done
fi
if [ -L "$target/usr/lib64" ]; then
	rm "$target/usr/lib64"
	mkdir "$target/usr/lib64"
	for loader in "$target"/usr/lib/ld-linux-*.so.*; do
		name=${loader##*/}
		ln -s "../lib/$name" "$target/usr/lib64/$name"
	done
fi

# Nobody becomes somebody else by starting a program.
find "$target" -type f -perm /6000 -exec chmod ug-s {} +
