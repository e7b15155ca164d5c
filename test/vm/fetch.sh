#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fetch.sh SUITE[,SUITE...] ARCH - print a directory that holds the newest cloud kernel of the
# first of these Debian suites that has one: vmlinuz, and lib/modules with modules.dep.
#
# Asks the mirrors that this machine's apt is set up for, with an apt state of its own, once a
# day; nothing is installed. Exits with 77 and the reason on stderr if there is none to be had.
# Knows nothing of QEMU or tests.

set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/softdirty-vm

none()
{
	echo "$*" >&2
	exit 77
}

# The mirrors' addresses, as apt knows them: the archive, and the one of security updates.
mirrors()
{
	apt-get --print-uris update | sed -n "s|^'\(.*\)/dists/.*/InRelease'.*|\1|p" | sort -u
}

# write_sources SUITE ARCH: the security suite too, if it has one, may have the newer kernel.
write_sources()
{
	mirrors | while read -r site; do
		case $1,$site in
		sid,*-security) ;;
		*-security) echo "deb [arch=$2] $site $1-security main" ;;
		*debian) echo "deb [arch=$2] $site $1 main" ;;
		esac
	done
}

# private_apt DIR ARCH COMMAND...: apt that neither reads nor changes the machine's own state.
private_apt()
{
	dir=$1 arch=$2 command=$3
	shift 3
	"$command" -q -o "Dir::State=$dir/state" -o Dir::State::status=/dev/null \
		-o "Dir::Cache=$dir/cache" -o "Dir::Etc::sourcelist=$dir/sources" \
		-o Dir::Etc::sourceparts=- -o Dir::Etc::main=- -o Dir::Etc::parts=- \
		-o "APT::Architecture=$arch" -o Acquire::Languages=none \
		-o Acquire::Check-Valid-Until=false -o "APT::Sandbox::User=$(id -un)" "$@"
}

# update DIR SUITE ARCH: an old suite's security part may be gone, so its failure is no error.
update()
{
	mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
	write_sources "$2" "$3" >"$1/sources"
	test -z "$(find "$1/updated" -mtime -1 2>/dev/null)" || return 0
	private_apt "$1" "$3" apt-get update --error-on=any >"$1/update.log" 2>&1 &&
		touch "$1/updated" || true
}

# packages DIR ARCH: what the newest kernel consists of; newer suites have it in several parts.
packages()
{
	private_apt "$1" "$2" apt-cache depends --recurse --no-recommends --no-suggests \
		--no-conflicts --no-breaks --no-replaces --no-enhances \
		"linux-image-cloud-$2" 2>/dev/null |
		grep -E "^linux-(base|binary|image|modules)-[0-9].*-cloud-$2\$" | sort -u
}

# version DIR ARCH PACKAGE...: a name for what would be unpacked.
version()
{
	private_apt "$1" "$2" apt-cache show "$3" | sed -n 's/^Version: //p' | head -n 1
}

# unpack DIR ARCH INTO PACKAGE...: nothing is left at INTO unless all of it worked.
unpack()
{
	dir=$1 arch=$2 into=$3
	shift 3
	rm -rf "$into.new"
	mkdir -p "$into.new/root" &&
		(cd "$into.new" && private_apt "$dir" "$arch" apt-get download "$@") \
			>"$dir/download.log" 2>&1 &&
		for deb in "$into.new"/*.deb; do
			dpkg-deb -x "$deb" "$into.new/root" || return 1
		done &&
		keep_kernel "$into.new" && mv "$into.new" "$into"
}

# keep_kernel DIR: only what a boot needs stays. Since Debian 14 the kernel lies beside its modules.
keep_kernel()
{
	mkdir -p "$1/lib" &&
		find "$1/root" -type f -name 'vmlinuz*' -exec mv {} "$1/vmlinuz" \; &&
		test -s "$1/vmlinuz" &&
		find "$1/root" -type d -name modules -path '*/lib/modules' -exec mv {} "$1/lib/" \; -prune &&
		rm -rf "$1/root" "$1"/*.deb &&
		depmod -b "$1" "$(ls "$1/lib/modules")"
}

# fetch SUITE ARCH
fetch()
{
	dir=$cache/$1-$2
	update "$dir" "$1" "$2"
	packages=$(packages "$dir" "$2")
	test -n "$packages" || return 1
	kernel=$dir/kernels/$(version "$dir" "$2" $packages)
	test -e "$kernel/vmlinuz" || unpack "$dir" "$2" "$kernel" $packages || return 1
	find "$dir/kernels" -mindepth 1 -maxdepth 1 ! -path "$kernel" -exec rm -rf {} +
	echo "$kernel"
}

PATH=$PATH:/sbin:/usr/sbin
for need in apt-get dpkg-deb depmod; do
	command -v $need >/dev/null || none "$need, which fetches the kernel, is not installed"
done
test -n "$(mirrors)" || none "apt has no Debian mirror configured"
why=
for suite in $(echo "$1" | tr , ' '); do
	fetch "$suite" "$2" && exit 0
	why="$why $(cat "$cache/$suite-$2"/*.log | grep -m 1 -E '^(E:|dpkg|depmod)')"
done
none "no $2 cloud kernel from $1:$why"
