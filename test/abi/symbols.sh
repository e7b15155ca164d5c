#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# symbols.sh NM LIBRARY SYMBOLS: what the shared library really exports is what symbols.txt says.
set -u
here=$(mktemp) || exit 1
trap 'rm -f "$here"' EXIT
"$1" -D --defined-only "$2" | awk '$2 == "T" { print $3 }' | LC_ALL=C sort > "$here"
if diff -u "$3" "$here"; then
	echo "ok exports_what_is_promised"
else
	echo "FAILED exports_what_is_promised"
	exit 1
fi
if [ "$("$1" -D --defined-only "$2" | awk '$2 != "T" && $2 != "A"' | wc -l)" -ne 0 ]; then
	echo "FAILED exports_no_data"
	exit 1
fi
echo "ok exports_no_data"
