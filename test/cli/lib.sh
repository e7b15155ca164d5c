# SPDX-License-Identifier: LGPL-2.1-or-later
# What the scripts of this folder share. They run in a directory with ./softdirty, ./target and tmp/.
# A claim is one line: "ok NAME", or "FAILED NAME" with what was seen.
set -u
failures=0
pids=()

# Nothing that we started stays.
tidy() {
	for pid in "${pids[@]}"; do
		./softdirty stop --tree "$pid" 2>/dev/null
		kill -9 "$pid" 2>/dev/null
	done
}
trap tidy EXIT

skip_all() { echo "skipped: $*"; exit 77; }
done_all() { [ "$failures" = 0 ]; exit; }

# run COMMAND...: its output is in $out and $err, its exit status in $status.
run() {
	"$@" >tmp/out 2>tmp/err </dev/null
	status=$?
	out=$(cat tmp/out; echo .) err=$(cat tmp/err)
	out=${out%.}
}

# claim NAME COMMAND...: it holds when the command succeeds.
claim() {
	local name=$1; shift
	if "$@"; then echo "ok $name"; return; fi
	failures=$((failures + 1))
	echo "FAILED $name: $*"
	echo "  status: $status"; echo "  stdout: ${out:0:2000}"; echo "  stderr: $err"
}

is() { [ "$1" = "$2" ]; }
matches() { [[ $1 =~ $2 ]]; }

# expect NAME STATUS STDOUT STDERR: of the last run, exactly.
expect() {
	claim "$1" [ "$status|$out|$err" = "$2|$3|$4" ]
}

# expect_like NAME STATUS STDOUT STDERR: the same with regular expressions for the whole text.
expect_like() {
	claim "$1" matches "$status|$out|$err" "^$2\\|$3\\|$4\$"
}

# start: a new target; its process is $pid, and what it is told goes by tell.
start() {
	rm -f tmp/to tmp/from
	mkfifo tmp/to tmp/from || exit 1
	./target <tmp/to >tmp/from &
	pid=$! pids+=("$!")
	disown
	exec {to}>tmp/to {from}<tmp/from
	heard
}
tell() { echo "$*" >&"$to"; heard; }
heard() {
	read -r -t 20 answer <&"$from" || { echo "FAILED the target does not answer"; exit 1; }
}
end() { kill -9 "$pid"; while [ -e "/proc/$pid" ]; do sleep 0.01; done; }

# The keepers of $pid.
keeper_pids() { pgrep -f "^softdirty keeper $pid\$"; }
keepers() { keeper_pids | wc -l; }

ranges() { run ./softdirty read "$pid" --format ranges "$@"; }
T=$'\t' N=$'\n'
ANON=100000000-100040000 SHARED=101000000-101010000
