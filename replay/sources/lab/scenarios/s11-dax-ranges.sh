# S11: device-dax over memory that the firmware sets aside: devices of one and of several ranges, as device and as RAM
need hwpoison_inject
echo offline >$M/auto_online_blocks
w() { qstep "walk-$1" walk "$1" 100 1999 0x138000 "${2:-0}"; }
v() { lab victim "$@"; }
devs() { ls /sys/bus/dax/devices | grep '^dax[0-9]'; }
pz() { # TAG : at the edges of every range
    awk '/dax[0-9]|Soft Reserved/{split($1,a,"-"); print "0x" a[1], "0x" a[2]}' /proc/iomem | sort -u | while read -r s e; do
        s=$((s / 4096)); e=$(((e + 1) / 4096))
        for d in -1 0 1 511 512 2000 40000; do echo "hard $((s + d)) $1:start$d"; done
        for d in -1 0; do echo "hard $((e + d)) $1:end$d"; done
        for d in 0 300; do echo "soft $((s + d)) $1:start$d"; echo "unpoison $((s + d)) $1:start$d"; done
    done >/tmp/pl.txt
    lab poisonlist </tmp/pl.txt
}
w boot
step load-dax need device_dax dax_hmem
devs
R=$(devs | head -1 | sed 's/\..*//; s/dax//')
w loaded
qstep poison-loaded pz loaded
free_all() { for d in $(devs); do daxctl disable-device $d; daxctl destroy-device $d; done; }
step free-all free_all
w free
pieces() { for i in 1 2 3 4 5 6; do daxctl create-device -r $R -s 128M; done; }
step six-pieces pieces
w six
holes() { for d in $(devs | sed -n '1p;3p;5p'); do daxctl disable-device $d; daxctl destroy-device $d; done; }
step three-holes holes
w holes
step over-holes daxctl create-device -r $R -s 384M
D=$(devs | while read -r d; do [ "$(cat /sys/bus/dax/devices/$d/size)" = 402653184 ] && echo $d; done | head -1)
note "device over the holes: $D"
listings ranges
w ranges
qstep poison-ranges pz ranges
[ -n "$D" ] && qstep victims-ranges eval 'for o in 0 0x8000000 0x10000000; do for i in mhard hard msoft; do v kind=devdax path=/dev/$D off=$o inj=$i early=1 sub=3; done; done'
step load-kmem need kmem
asram() { daxctl disable-device $D; daxctl reconfigure-device -N -m system-ram $D; }
[ -n "$D" ] && step as-ram asram
listings as-ram
w as-ram
step disable-all eval 'for d in $(devs); do daxctl disable-device $d; done'
w disabled
step free-all-again free_all
w end
vmstate end-of-scenario
