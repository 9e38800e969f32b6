# S3: ACPI memory hotplug (pc-dimm) through the QEMU monitor, partial onlining, removal
need hwpoison_inject
nblk() { ls -d $M/memory[0-9]* | wc -l; }
waitblk() { # WANT : wait until the number of memory blocks is WANT (max 10 s)
  _i=0; while [ "$(nblk)" != "$1" ] && [ $_i -lt 50 ]; do sleep 0.2; _i=$((_i+1)); done; echo "blocks now $(nblk), wanted $1"; [ "$(nblk)" = "$1" ]; }
plug() { # ID SIZE_MIB NODE EXPECTED_NEW_BLOCKS
  _n=$(nblk); hmp "object_add memory-backend-ram,id=be$1,size=$2M"; hmp "device_add pc-dimm,id=$1,memdev=be$1,node=$3"; waitblk $((_n+$4)); _r=$?; [ $4 = 0 ] && sleep 2; return $_r; }
unplug() { # ID EXPECTED_REMOVED_BLOCKS
  _n=$(nblk); hmp "device_del $1"; waitblk $((_n-$2)); _r=$?; sleep 0.5; hmp "object_del be$1"; hmp "info memory-devices"; return $_r; }
newblks() { for _x in $(ls -d $M/memory[0-9]* | sed 's/.*memory//' | sort -n); do grep -qx $_x /tmp/bootblks || echo $_x; done; }
set_state() { timeout 30 sh -c "echo $2 > $M/memory$1/state"; _r=$?; echo "memory$1 $2 -> rc=$_r state=$(cat $M/memory$1/state)"; return $_r; }
blk() { newblks | sed -n ${1}p; }
w() { qstep walk-$1 walk $1 100 1999 ${2:-0xf8000} ${3:-0}; }
pz() { # TAG BLOCK : poison some pfns of a memory block
  _s=$(( 0x$(cat $M/memory$2/phys_index) * 32768 ))
  { for _d in 0 511 777 5000 32766; do echo "hard $((_s+_d)) $1:blk$2+$_d"; done; echo "hard $((_s+777)) $1:blk$2+777-again"; echo "corrupt $((_s+6000)) $1:blk$2+6000"; echo "soft $((_s+900)) $1:blk$2+900"; echo "unpoison $((_s+777)) $1:blk$2+777"; echo "unpoison $((_s+778)) $1:blk$2+778"; } > /tmp/pl.txt; lab poisonlist < /tmp/pl.txt; }
ls -d $M/memory[0-9]* | sed 's/.*memory//' > /tmp/bootblks
note "auto_online_blocks initially $(cat $M/auto_online_blocks)"
echo offline > $M/auto_online_blocks; vmstate auto-offline
qstep walk-boot walk boot 100 997
step plug-d1-512M plug d1 512 0 4
w d1-offline
qstep poison-offline-block pz offline $(blk 1)
step online-kernel-b1 set_state $(blk 1) online_kernel
w b1-online
qstep poison-online-kernel pz online-kernel $(blk 1)
step online-movable-b4 set_state $(blk 4) online_movable
w b1-b4-online
qstep poison-online-movable pz online-movable $(blk 4)
step online-movable-b3 set_state $(blk 3) online_movable
w b1-b3-b4-online
step offline-b4 set_state $(blk 4) offline
w b1-b3-online
qstep poison-offlined-block pz offlined $(blk 4)
step reonline-movable-b4 set_state $(blk 4) online_movable
w b4-again
step plug-d2-128M plug d2 128 0 1
w d2
step plug-d3-64M-unaligned plug d3 64 0 0
w d3
step plug-d4-192M-unaligned plug d4 192 0 0
w d4
step online-d2 set_state $(blk 5) online_movable
w d2-online
step plug-d5-256M-node plug d5 256 $([ -d /sys/devices/system/node/node1 ] && echo 1 || echo 0) 2
w d5
step offline-b3 set_state $(blk 3) offline
step offline-b4-again set_state $(blk 4) offline
step offline-b1 set_state $(blk 1) offline
w all-d1-offline
step unplug-d1 unplug d1 4
w after-unplug-d1
step unplug-d2-online unplug d2 1
w after-unplug-d2
echo online_movable > $M/auto_online_blocks; vmstate auto-online-movable
step plug-d6-384M-auto plug d6 384 0 3
w d6-auto
AB=$(newblks | tail -1)
case $KERNEL in 5.10*) note '5.10: no poison before unplug-d6 (offlining a block that holds poisoned pages never ends on this kernel and would block the ACPI hotplug worker); done in d8 at the end';; *) qstep poison-auto pz auto $AB
qstep victims-auto eval 'for i in mhard hard msoft; do lab victim kind=anon inj=$i; lab victim kind=anon-thp inj=$i; done';; esac
step unplug-d6 unplug d6 3
w after-unplug-d6
echo online_kernel > $M/auto_online_blocks || echo online > $M/auto_online_blocks; vmstate auto-online-kernel
step plug-d7-256M-auto plug d7 256 0 2
w d7-auto
step unplug-d7 unplug d7 2
w after-unplug-d7
step offline-boot-block set_state $(head -1 /tmp/bootblks) offline
step offline-last-boot-block set_state $(sort -n /tmp/bootblks | tail -1) offline
w boot-last-offline 0x0 0
step online-last-boot-block set_state $(sort -n /tmp/bootblks | tail -1) online
echo online_movable > $M/auto_online_blocks
step plug-d8-256M-auto plug d8 256 0 2
w d8-auto
qstep poison-d8 pz d8 $(newblks | tail -1)
qstep poison-d8b pz d8b $(newblks | tail -2 | head -1)
w d8-poisoned
step offline-d8-poisoned set_state $(newblks | tail -1) offline
w d8-offline
qstep poison-d8-offline pz d8-offline $(newblks | tail -1)
step online-d8-again set_state $(newblks | tail -1) online_movable
w d8-online-again
qstep walk-end walk end 100 997
vmstate end-of-scenario
