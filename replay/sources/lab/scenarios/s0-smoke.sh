# S0: a little of everything, and that a second recorder takes back all that it did: at its end, on Ctrl-C, on a signal,
# when its parent is gone, and when it is killed
need hwpoison_inject
T=/sys/kernel/tracing
v() { lab victim "$@"; }
qstep walk walk smoke 64 4999
victims() { for i in mhard hard msoft; do v kind=anon inj=$i early=1 unpoison=1; done; for p in $(lab find buddy 2 3); do lab poison hard $p buddy; lab poison unpoison $p buddy; done; }
qstep victims victims
state_now() { sort $T/kprobe_events | md5sum; ls $T/instances; cat $T/tracing_on $T/current_tracer $T/trace_clock $T/buffer_size_kb; }
state_now >/tmp/before
unchanged() { # WHAT
    _i=0
    while state_now >/tmp/after && ! cmp -s /tmp/before /tmp/after && [ $_i -lt 30 ]; do sleep 2; _i=$((_i + 1)); done
    if cmp -s /tmp/before /tmp/after; then note "undone: $1"; else
        note "NOT undone: $1"
        diff /tmp/before /tmp/after
    fi
}
nested() { # OPTIONS... : a recorder of its own, in the background
    rm -rf /tmp/nested
    env -u REPLAY_CAPTURE_DIR sh /capture.sh -o /tmp/nested -b 256 "$@" >/tmp/nested.log 2>&1 &
    N=$!
}
armed() { _i=0; while ! ls $T/instances | grep -qx "replay_$N" && [ $_i -lt 100 ]; do sleep 0.5; _i=$((_i + 1)); done; sleep 2; ls $T/instances; }
at_end() { nested -d 1; wait $N; echo "status $?"; unchanged "at the end"; [ -s /tmp/nested/trace.txt ] && note "recorded: at the end"; }
by() { nested; armed; kill -$1 $N; wait $N; echo "status $?"; unchanged "by SIG$1"; }
parent() { # the recorder's parent is a shell that is killed
    sh -c 'env -u REPLAY_CAPTURE_DIR sh /capture.sh -o /tmp/nested -b 256 >/tmp/nested.log 2>&1 & echo $! >/tmp/npid; sleep 1000' &
    P=$!
    rm -rf /tmp/nested
    sleep 1
    N=$(cat /tmp/npid)
    armed
    kill -KILL $P
    unchanged "by the end of its parent"
}
qstep at-end at_end
qstep by-signal by TERM
qstep by-kill by KILL
qstep parent-gone parent
vmstate end-of-scenario
