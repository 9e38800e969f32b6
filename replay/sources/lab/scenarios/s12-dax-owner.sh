# S12: errors in dax pages of a file system that has a say in them (xfs with a reverse map), and the filter on dax pages
need hwpoison_inject libcrc32c crc32c_generic libnvdimm nd_btt nd_pmem nfit device_dax dax_pmem xfs
v() { lab victim "$@"; }
initlabels() { ndctl disable-region all; ndctl init-labels -f all; ndctl enable-region all; ndctl list -RDi; }
files() { # while the file is open its inode is known, and the file system tells who maps the page
    for e in 0 1; do for k in fsdax-pte fsdax-pmd; do for i in mhard hard corrupt; do v kind=$k path=/mnt/dax/f% inj=$i early=$e sub=3 owner=0; done; done; done
    for i in mhard hard; do v kind=fsdax-pte path=/mnt/dax/f% inj=$i early=3 share=3 sub=5 owner=0; v kind=fsdax-pte path=/mnt/dax/f% inj=$i early=1 handler=0 sub=5 owner=0; done
    for i in msoft soft; do v kind=fsdax-pte path=/mnt/dax/f% inj=$i sub=5 owner=0; done
}
metadata() { # the first page of data holds the superblock: the file system shuts down
    for r in /sys/bus/nd/devices/pfn*/resource; do
        P=$(($(cat "$r") / 4096))
        [ "$P" -gt 0 ] && { lab poison hard $P metadata,owner=-117; break; }
    done
}
filtered() {
    echo 0x1000 >$H/corrupt-filter-flags-mask; echo 0x1000 >$H/corrupt-filter-flags-value; echo 1 >$H/corrupt-filter-enable
    O=0x1000000
    for e in 0 1; do for i in mhard hard; do v kind=devdax path=/dev/$D inj=$i early=$e sub=3 off=$O; O=$((O + 0x400000)); done; done
    echo 0 >$H/corrupt-filter-enable
    for i in mhard hard; do v kind=devdax path=/dev/$D inj=$i early=1 sub=3 off=$O; O=$((O + 0x400000)); done
}
step init-labels initlabels
step ns-devdax ndctl create-namespace -r region1 -m devdax -M mem -a 2M
D=$(ls /sys/bus/dax/devices | grep '^dax[0-9]' | head -1)
[ -n "$D" ] && qstep filtered filtered
vmstate after-filter
step ns-fsdax ndctl create-namespace -r region0 -m fsdax -M mem
listings namespaces
PM=$(ls /dev/pmem* | head -1)
mkfs() { mkfs.xfs -f -q -m rmapbt=1,reflink=0 "$PM"; }
step mkfs mkfs
step mount mount -t xfs -o dax "$PM" /mnt/dax
mount | grep -q '/mnt/dax.*xfs' && {
    qstep files files
    vmstate after-files
    qstep metadata metadata
}
umount /mnt/dax
vmstate end-of-scenario
