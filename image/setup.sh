#!/bin/sh
# Installs what a fresh Debian 12 or 13 lacks to build Ashlar and run it in QEMU; what is there already is left alone.
#
#   image/setup.sh          to build and run
#   image/setup.sh test     also what the tests need (a browser)
#
# Uses sudo when not root. Rust comes by rustup when there is none.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*"; }
fail() { say "error: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
have apt-get || fail "this script knows Debian only; see image/setup.sh for the programs needed"

as_root() {
	if [ "$(id -u)" = 0 ]; then
		DEBIAN_FRONTEND=noninteractive "$@"
	else
		have sudo || fail "packages are missing and there is no sudo; run image/setup.sh once as root"
		sudo DEBIAN_FRONTEND=noninteractive "$@"
	fi
}

updated=
apt_install() {
	if [ -z "$updated" ]; then
		as_root apt-get update -qq || say "The package lists could not be brought up to date; going on with those there are."
		updated=yes
	fi
	as_root apt-get install -y -qq --no-install-recommends "$@"
}

# The arguments that name packages not installed.
missing() {
	for package in "$@"; do
		installed "$package" || printf '%s ' "$package"
	done
}

wanted="mmdebstrap squashfs-tools mtools dosfstools e2fsprogs binutils kmod xz-utils git make gcc g++ libc6-dev lld ca-certificates curl"
# Tests of the network make namespaces, with real servers and guests in them. The API is tested by a Python program. A
# guest starts from an ISO.
[ "${1:-}" != test ] ||
	wanted="$wanted chromium chromium-driver busybox-static dnsmasq-base nftables iproute2 iputils-ping python3-venv xorriso"
have node || wanted="$wanted nodejs"
have npm || wanted="$wanted npm"
lack=$(missing $wanted)
if [ -n "$lack" ]; then
	say "Installing: $lack"
	apt_install $lack || fail "apt-get could not install these packages: $lack"
fi

# The image runs in the QEMU of its own base; unit tests start machines with that of the host. All parts are named
# together: asked for one of them, apt may take another away. Where backports are on, they can come from two releases
# that do not fit together.
qemu="qemu-system-x86 qemu-system-common qemu-system-data qemu-utils ovmf"
if [ "${1:-}" = test ] && [ -n "$(missing $qemu)" ]; then
	say "Installing: $(missing $qemu)"
	if ! apt_install $qemu; then
		release=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
		say "That failed; taking all of QEMU from $release, which may replace newer parts by older ones."
		apt_install --allow-downgrades $(printf "%s/$release " $qemu) ||
			fail "apt-get could not install QEMU; \`apt-get install $qemu\` says why"
	fi
	[ -z "$(missing $qemu)" ] || fail "these packages are still missing: $(missing $qemu)"
fi

if ! have cargo; then
	if apt-cache show rustup >/dev/null 2>&1; then
		say "Installing Rust by the rustup of this Debian"
		apt_install rustup
		rustup default stable
	else
		say "Installing Rust by rustup"
		curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal -c clippy -c rustfmt ||
			fail "rustup could not be installed; install Rust and run this again"
	fi
fi

# Is the first version at least the second?
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
found=$(rustc --version | cut -d ' ' -f 2)
if ! at_least "$found" "$needed"; then
	have rustup || fail "Rust $needed is needed, this is $found, and there is no rustup to update it"
	say "Updating Rust: $needed is needed, this is $found"
	rustup update stable && rustup default stable
fi

# The console is WebAssembly. Where rustup cannot bring the target, Debian has a compiler with the library's sources.
target=wasm32-unknown-unknown
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && [ -n "$(missing rustc-web rust-web-src)" ]; then
	say "Adding the Rust target $target"
	if ! have rustup || ! timeout 120 rustup target add "$target"; then
		say "That failed; taking Debian's rustc-web and rust-web-src, which build the library from source."
		apt_install rustc-web rust-web-src ||
			fail "neither rustup nor apt-get could bring what compiles for $target"
	fi
fi
