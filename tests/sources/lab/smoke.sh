#!/bin/sh
# `make lab-smoke`: boots a Debian kernel, lets the recorder record itself being ended in every way, replays the recording.
# LAB_KERNEL=vmlinuz (and LAB_MODULES=folder) choose the kernel; otherwise Debian's newest one is fetched with apt-get.
set -u
BIN=${1:-.venv/bin}
skip() { echo "lab-smoke: skipped: $*"; exit 0; }
fail() { echo "lab-smoke: FAILED: $*"; exit 1; }
for p in qemu-system-x86_64 busybox gcc depmod mkfs.ext4; do
    command -v $p >/dev/null || skip "no $p; apt-get install qemu-system-x86 busybox-static kmod e2fsprogs gcc libc6-dev"
done
WORK=$(mktemp -d) || exit 1
trap 'rm -rf "$WORK"' EXIT
if [ -z "${LAB_KERNEL:-}" ]; then
    command -v apt-get >/dev/null || skip "no Debian; give a kernel with LAB_KERNEL=vmlinuz"
    PACKAGE=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$PACKAGE" ] || skip "apt knows no linux-image-amd64 (apt-get update?); give a kernel with LAB_KERNEL=vmlinuz"
    (cd "$WORK" && apt-get -o APT::Sandbox::User=root download "$PACKAGE" >/dev/null 2>&1) || skip "$PACKAGE cannot be fetched"
    dpkg-deb -x "$WORK"/linux-image-*.deb "$WORK/root" || fail "$PACKAGE cannot be unpacked"
    LAB_KERNEL=$(find "$WORK/root" -name 'vmlinuz*' -type f | head -n 1)
    [ -n "$LAB_KERNEL" ] || skip "$PACKAGE holds no kernel image"
fi
"$BIN/replay" lab --kernel "$LAB_KERNEL" ${LAB_MODULES:+--modules "$LAB_MODULES"} --scenario s0-smoke -o "$WORK/rec" -v || fail "no recording"
cat "$WORK/rec/notes.txt"
grep -q 'NOT undone' "$WORK/rec/notes.txt" && { cat "$WORK/rec/step-output.txt"; fail "the recorder left something behind"; }
[ "$(grep -c ' undone: ' "$WORK/rec/notes.txt")" = 4 ] || fail "not every way of ending the recorder was tried"
grep -q ' recorded: at the end' "$WORK/rec/notes.txt" || fail "the second recorder recorded nothing"
"$BIN/replay" run "$WORK/rec.arrow" || fail "the replay differs from the recording"
echo "lab-smoke: passed"
