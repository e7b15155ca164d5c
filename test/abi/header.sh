#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# header.sh INCLUDE-DIR CC...: softdirty.h alone compiles without a warning, as strict C and C++.
set -u
include=$1
shift
n=0
for std in c11 gnu11 c17 c++11 c++17 c++20; do
	case $std in
	*++*) lang=c++ more= ;;
	*) lang=c more=-Wstrict-prototypes ;;
	esac
	if ! "$@" -x $lang -std=$std -fsyntax-only /dev/null 2>/dev/null; then
		echo "skipped header_compiles_as_$std: this compiler has no $std"
		continue
	fi
	if printf '#include <softdirty.h>\nint main() { return softdirty_error() == 0; }\n' |
	   sed "s/main()/main($([ $lang = c ] && echo void))/" |
	   "$@" -x $lang -std=$std -pedantic -Wall -Wextra -Wconversion $more -Werror \
		-I"$include" -fsyntax-only -; then
		echo "ok header_compiles_as_$std"
	else
		echo "FAILED header_compiles_as_$std"
		n=1
	fi
done
exit $n
