# Shell functions of the scenarios (busybox sh). Marks and copies of /proc and /sys are made by the recorder.
M=/sys/devices/system/memory
H=/sys/kernel/debug/hwpoison
OUT=$REPLAY_CAPTURE_DIR
KERNEL=$(uname -r)
capture() { sh "$REPLAY_CAPTURE" "$@"; }
note() { echo "$(cut -d' ' -f1 /proc/uptime) $*" >>"$OUT/notes.txt"; echo "NOTE $*"; }
vmstate() { capture state "$1"; }
_step() { # -q|"" NAME COMMAND...
    _sQuiet=$1 _sName=$2
    shift 2
    capture step-begin "$_sName"
    "$@" >/tmp/step.out 2>&1
    _sRc=$?
    # shellcheck disable=SC2086
    capture step-end $_sRc $_sQuiet "$*"
    { echo "--- step $_sName rc=$_sRc: $*"; cat /tmp/step.out; } >>"$OUT/step-output.txt"
    cat /tmp/step.out
    echo "@@STEP $_sName rc=$_sRc $(cut -d' ' -f1 /proc/uptime)" >/dev/console
    return $_sRc
}
step() { _step "" "$@"; }   # with copies of /proc and /sys after it
qstep() { _step -q "$@"; }  # without
walk() { # NAME RADIUS SAMPLE [LO HI] [FILE]
    lab ranges "$2" "$3" ${4:-} ${5:-} >/tmp/ranges.txt
    cp /tmp/ranges.txt "$OUT/walk-$1.ranges"
    lab walk "$1" "${6:-kpageflags}" </tmp/ranges.txt
}
hmp() { lab ctl "hmp $*"; }
need() { for m in "$@"; do modprobe "$m" 2>&1 || note "module $m not loaded"; done; }
listings() { # NAME : what ndctl and daxctl print, each file one command's output; inputs for the importers' tests
    daxctl list >"$OUT/tools-$1-daxctl-list.txt"
    daxctl list -R -D -M >"$OUT/tools-$1-daxctl-list-RDM.txt"
    daxctl list -R -D -M -u >"$OUT/tools-$1-daxctl-list-RDMu.txt"
    ndctl list >"$OUT/tools-$1-ndctl-list.txt"
    ndctl list -NRDB >"$OUT/tools-$1-ndctl-list-NRDB.txt"
    ndctl list -NRDBu >"$OUT/tools-$1-ndctl-list-NRDBu.txt"
    ndctl list -NX >"$OUT/tools-$1-ndctl-list-NX.txt"
}
