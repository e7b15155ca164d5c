#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# test/compat/criu.sh [CASE...] - unmodified CRIU, incrementally, end to end; to be run by criu-root.
# Each case starts something that can prove its memory right (proof.c, redis-load.c), makes
# pre-dumps and a dump of it under `softdirty exec`, restores it with plain criu, and lets it prove.
# Prints what each image holds and how long each step froze the target. ROUNDS: how often the case
# "writer" is repeated (20). SLOW: each step takes seconds, so write less. NATIVE: the
# kernel's own bit is in use.

set -u
bin=/build/test/compat
exec_="/build/softdirty exec"
work=/tmp/criu
failed=0

say() { echo "  $*"; }

fail()
{
	say "FAILED: $*"
	bad=1
}

# --- steps ------------------------------------------------------------------------------------

# begin CASE: an empty directory to work in.
begin()
{
	name=$1 bad=0 pid= images_in= last= sizes= images=$work/$1
	rm -rf "$images" && mkdir -p "$images" && cd "$images" || exit 1
}

# start OPTION...: a proof; its pid in $pid.
start()
{
	# alone will be the next process, and what it starts the one after.
	test -z "${want_pid-}" || echo $((want_pid - 2)) >/proc/sys/kernel/ns_last_pid
	# shellcheck disable=SC2086
	"$bin/alone" ${alone-} pid "$bin/proof" "$@" ${SLOW:+--rate 0} "$images/proof" || exit 1
	pid=$(cat pid)
	sleep 0.5
}

why() { grep Error "$1" | grep -v -e RLIMIT -e 'No parent image' | head -n 2; }

# Tracking has begun while CRIU held it, with the best mechanism there is.
check_backend()
{
	test -z "${NATIVE-}" && test -d "/proc/$pid" || return 0
	/build/softdirty read "$pid" --mark criu --json >json 2>&1
	grep -q '"backend": *"wp-async"' json || fail "not tracked by wp-async: $(cut -c 1-200 json)"
}

# criu_step COMMAND DIR OPTION...: with the last step's images as parent.
criu_step()
{
	command=$1 dir=$2
	shift 2
	mkdir -p "$dir"
	# shellcheck disable=SC2086
	$exec_ criu "$command" -t "$pid" -D "$dir" --track-mem --display-stats -v4 -o log \
		${last:+--prev-images-dir ../$last} "$@" >stats 2>&1 || {
		fail "$command into $dir: $(why "$dir/log")"
		return 1
	}
	account "$command" "$dir" "$(awk '/Frozen time/ { print $3 }' stats)"
	check_backend
	last=$dir
}

# account COMMAND DIR FROZEN_US
account()
{
	size=$(cat "$images_in$2"/pages-*.img | wc -c)
	sizes="$sizes $size"
	say "$(printf '%-9s %-6s %6d KiB in pages-*.img, frozen %s us' "$1" "$2" $((size / 1024)) "$3")"
}

# Each image after the first holds a part of it only. (The kernel's own bit is one for a whole huge
# page, so there most of the memory is dirty whatever was written.)
check_sizes()
{
	test -z "${NATIVE-}" || return 0
	# shellcheck disable=SC2086
	set -- ${sizes:-0}
	first=$1
	shift
	for size; do
		test $((size * 2)) -lt "$first" || fail "an image has $size bytes, the first has $first"
	done
}

# pre_dumps N OPTION...
pre_dumps()
{
	rounds=$1
	shift
	for i in $(seq "$rounds"); do
		criu_step pre-dump "$i" "$@" || return 1
		sleep 0.2
	done
}

gone()
{
	for i in $(seq 100); do
		test -d "/proc/$1" || return 0
		sleep 0.05
	done
	fail "process $1 does not go away"
}

# Nothing of softdirty is needed to restore.
restore()
{
	gone "$pid"
	criu restore -d -D "${1-$last}" -v4 -o restore.log >/dev/null 2>&1 ||
		fail "restore: $(why "${1-$last}/restore.log")"
}

# prove N PROCESS...: N threads say that all is well.
prove()
{
	want=$1
	shift
	kill -USR1 "$@" || fail "it does not run"
	for i in $(seq 60); do
		test "$(cat proof 2>/dev/null | wc -l)" -ge "$want" && break
		sleep 0.05
	done
	ok=$(grep -c '^ok' proof 2>/dev/null)
	test "$ok" = "$want" || fail "$ok of $want threads are well: $(grep -v '^ok' proof)"
	rm -f proof
}

tree_of() { ps -o pid= --ppid "$1" | tr -d ' '; }

finish()
{
	if test -n "$pid"; then
		# shellcheck disable=SC2046
		kill -KILL "$pid" $(tree_of "$pid") 2>/dev/null
		gone "$pid"
	fi
	if test $bad = 0; then
		test -n "${KEEP-}" || rm -rf "$images"
		echo "ok $name"
	else
		failed=1
		echo "FAILED $name"
	fi
}

# --- cases ------------------------------------------------------------------------------------

case_check()
{
	begin check
	$exec_ criu check --feature mem_dirty_track >out 2>&1 || fail "$(cat out)"
	grep -q 'mem_dirty_track is supported' out || fail "$(cat out)"
	finish
}

# A criu without us must not believe what we showed, nor we what the kernel showed it.
case_feature_cache()
{
	begin feature_cache
	rm -f /run/criu.kdat
	$exec_ criu check --feature mem_dirty_track >/dev/null 2>&1 || fail "not supported"
	test ! -e /run/criu.kdat || fail "/run/criu.kdat was written"
	criu check --feature mem_dirty_track >/dev/null 2>&1 && fail "the kernel has it: no test"
	test -e /run/criu.kdat || fail "criu keeps no cache here: no test"
	before=$(cksum /run/criu.kdat)
	$exec_ criu check --feature mem_dirty_track >/dev/null 2>&1 || fail "the cache was believed"
	test "$(cksum /run/criu.kdat)" = "$before" || fail "/run/criu.kdat was changed"
	finish
}

# Twenty times, for what goes wrong once in ten.
case_writer()
{
	for round in $(seq "${ROUNDS:-20}"); do
		begin "writer_$round"
		start --pages 4096 --rate 1000
		pre_dumps 3 --pre-dump-mode "$(test $((round % 2)) = 0 && echo read || echo splice)" &&
			criu_step dump final && restore && prove 1 "$pid" && check_sizes
		finish
	done
}

case_tree()
{
	for mode in splice read; do
		begin "tree_$mode"
		start --threads 3 --children 3 --shared --rate 300
		pre_dumps 3 --pre-dump-mode $mode && criu_step dump final && restore
		# shellcheck disable=SC2046
		prove 12 "$pid" $(tree_of "$pid")
		check_sizes
		finish
	done
}

case_snapshots()
{
	begin snapshots
	start --threads 2 --rate 500
	for i in 1 2 3 4; do
		criu_step dump "$i" --leave-running || break
		prove 2 "$pid"
	done
	kill -KILL "$pid"
	restore && prove 2 "$pid"
	check_sizes
	finish
}

serve()
{
	mkdir -p "there/$1"
	rm -f server
	criu page-server -D "there/$1" --address 127.0.0.1 --port 27123 --daemon --pidfile \
		"$images/server" ${last:+--prev-images-dir ../$last} -v4 -o server.log >/dev/null 2>&1 ||
		fail "page-server: $(tail -n 1 "there/$1/server.log")"
}

case_page_server()
{
	begin page_server
	images_in=there/
	start --threads 2 --rate 500
	for i in 1 2 3 4; do
		command=$(test $i = 4 && echo dump || echo pre-dump)
		serve $i
		criu_step "$command" $i --page-server --address 127.0.0.1 --port 27123 || break
		sleep 0.2
	done
	cp 4/*.img there/4/
	restore there/4 && prove 2 "$pid"
	finish
}

# Children that fork and call exec all the time: an address of [vdso] that no parent image has.
case_fork_and_exec()
{
	begin fork_and_exec
	start --threads 2 --children 2 --exec
	pre_dumps 3 && criu_step dump final && restore && prove 2 "$pid"
	sleep 0.5
	grep -s CORRUPT proof && fail "a child is corrupt"
	finish
}

# The process that was pre-dumped ends, and another gets its number.
case_pid_reuse()
{
	begin pid_reuse
	start --pages 1024
	old=$pid
	pre_dumps 2
	kill -KILL "$pid"
	gone "$pid"
	want_pid=$old
	start --pages 1024
	want_pid=
	test "$pid" = "$old" || fail "pid $pid instead of $old: no test"
	criu_step dump final && restore && prove 1 "$pid"
	finish
}

case_seccomp()
{
	begin seccomp
	start --seccomp --threads 2 --rate 500
	pre_dumps 2 && criu_step dump final && restore && prove 2 "$pid"
	finish
}

case_pid_namespace()
{
	begin pid_namespace
	alone=--pid-namespace
	start --children 1
	alone=
	pre_dumps 3 && criu_step dump final && restore
	# shellcheck disable=SC2046
	prove 2 "$(pgrep -o proof)" $(tree_of "$(pgrep -o proof)")
	pid=$(pgrep -o proof)
	finish
}

# rpc WORD...: a request to CRIU, as container engines make them.
rpc()
{
	# shellcheck disable=SC2086
	PATH=$images/bin:$PATH "$bin/swrk" ${service-} "$@" >out 2>&1 || {
		fail "$1: $(cat out)"
		return 1
	}
}

# The wrapper under the name criu is the first in PATH; it restores, too.
rpc_steps()
{
	start --threads 2 --children 1 --shared --rate 500
	rpc check
	for i in 1 2 3 4; do
		mkdir $i
		rpc "$(test $i = 4 && echo dump || echo pre-dump)" "$pid" $i ${last:+../$last} ||
			break
		account "rpc" $i -
		last=$i
		sleep 0.2
	done
	gone "$pid"
	rpc restore 0 4
	# shellcheck disable=SC2046
	prove 4 "$pid" $(tree_of "$pid")
	check_sizes
}

with_wrapper()
{
	mkdir bin
	ln -s /project/contrib/criu-softdirty bin/criu
	export SOFTDIRTY_COMMAND=/build/softdirty
	"$@"
	unset SOFTDIRTY_COMMAND
}

case_swrk()
{
	begin swrk
	with_wrapper rpc_steps
	finish
}

case_service()
{
	begin service
	$exec_ criu service --address "$images/service.sk" --pidfile "$images/service.pid" \
		--daemon -v4 -o service.log >out 2>&1 || fail "service: $(cat out)"
	service="--service $images/service.sk"
	with_wrapper rpc_steps
	service=
	kill "$(cat service.pid)"
	finish
}

# What README.md tells people to paste.
case_readme()
{
	begin readme
	awk '/^## / { on = /CRIU/ } /^```$/ { code = 0 } on && code; /^```sh/ { code = 1 }' \
		/project/README.md >commands
	grep -q restore commands || fail "README.md has no commands"
	(cd /project && TMPDIR=$images PATH=/build:$PATH sh -ex "$images/commands") >out 2>&1 ||
		fail "$(tail -n 5 out)"
	sizes=$(awk '$2 == "total" { sub(/M$/, "000", $1); sub(/K$/, "", $1); print $1 }' out)
	say "$(echo "$sizes" | tr '\n' ' ')KiB in pages-*.img"
	check_sizes
	finish
}

case_redis()
{
	begin redis
	n=200000
	"$bin/alone" pid redis-server --port 0 --unixsocket "$images/socket" --save "" \
		--appendonly no --logfile "$images/redis.log" --dir "$images"
	pid=$(cat pid)
	until redis-cli -s socket ping >/dev/null 2>&1; do sleep 0.05; done
	"$bin/redis-load" socket fill $n
	"$bin/redis-load" socket load $n counters &
	load=$!
	sleep 0.5
	pre_dumps 3
	kill -TERM $load
	wait $load || fail "the load did not end well"
	criu_step dump final && restore
	"$bin/redis-load" socket verify $n counters >out 2>&1 || fail "redis: $(cat out)"
	say "$(cat out)"
	check_sizes
	finish
}

all="check feature_cache writer tree snapshots page_server fork_and_exec pid_reuse seccomp
	pid_namespace swrk service redis readme"
# shellcheck disable=SC2086
for c in ${*:-$all}; do
	"case_$c"
done
exit $failed
