# S10: memory that the machine booted with is removed and added again; memory that holds its own memmap; a device of
# several ranges
. /scn/hotplug.sh
need hwpoison_inject
echo offline >$M/auto_online_blocks
# The first of the four blocks that the firmware calls a DIMM and the kernel RAM. They are a node of their own: movable_node
# keeps the kernel's own data only out of nodes that the kernel itself is not in.
BOOT=$((0x100000000 / 134217728))
note "zones of the boot blocks: $(cat $M/memory$BOOT/valid_zones)"
each_boot() { for b in 0 1 2 3; do set_state $((BOOT + b)) "$1" || return 1; done; }
qstep walk-boot walk boot 100 997
qstep poison-boot pzoff boot $BOOT
step offline-boot each_boot offline
w offline-boot
step remove-boot unplug bd 4
w removed
qstep poison-removed pzoff removed $BOOT
step add-again plug d1 512 1 4
w again
step online-again each_boot online_movable
w online-again
qstep poison-again pzoff again $BOOT 512
step offline-again each_boot offline
step remove-again unplug d1 4
w removed-again
ls -d $M/memory[0-9]* | sed 's/.*memory//' >/tmp/bootblks # what comes next is new, at the same addresses
step plug-128M plug d2 128 1 1
w own-memmap-offline
B=$(newblks | tail -1)
[ -n "$B" ] && {
    step online-128M set_state $B online_movable
    w own-memmap
    qstep poison-own-memmap pzoff own-memmap $B 512
    step offline-128M set_state $B offline
    w own-memmap-offline-again
    step unplug-128M unplug d2 1
    w own-memmap-gone
}
step plug-256M plug d3 256 1 2
w two-blocks
# The kernel's own pages go to the first, so that what is poisoned and taken back in the second is nobody's.
K=online_kernel
for B in $(newblks); do step "online-$B" set_state "$B" $K; K=online_movable; done
w two-blocks-online
[ -n "$(newblks | tail -1)" ] && qstep poison-two-blocks pzoff two-blocks $(newblks | tail -1) 512
qstep walk-end walk end 100 997
vmstate end-of-scenario
