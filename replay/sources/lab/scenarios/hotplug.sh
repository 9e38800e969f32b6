# DIMMs through the monitor of the emulator
nblk() { ls -d $M/memory[0-9]* | wc -l; }
waitblk() { # WANT : until there are so many memory blocks, 10 s at most
    _i=0
    while [ "$(nblk)" != "$1" ] && [ $_i -lt 50 ]; do sleep 0.2; _i=$((_i + 1)); done
    echo "blocks now $(nblk), wanted $1"
    [ "$(nblk)" = "$1" ]
}
plug() { # ID MIB NODE NEW_BLOCKS
    _n=$(nblk)
    hmp "object_add memory-backend-ram,id=be$1,size=$2M"
    hmp "device_add pc-dimm,id=$1,memdev=be$1,node=$3"
    waitblk $((_n + $4))
}
unplug() { # ID REMOVED_BLOCKS
    _n=$(nblk)
    hmp "device_del $1"
    waitblk $((_n - $2))
    _r=$?
    sleep 0.5
    hmp "object_del be$1"
    hmp "info memory-devices"
    return $_r
}
newblks() { for _x in $(ls -d $M/memory[0-9]* | sed 's/.*memory//' | sort -n); do grep -qx "$_x" /tmp/bootblks || echo "$_x"; done; }
set_state() { # BLOCK STATE
    timeout 30 sh -c "echo $2 > $M/memory$1/state"
    _r=$?
    echo "memory$1 $2 -> rc=$_r state=$(cat $M/memory$1/state)"
    return $_r
}
w() { qstep "walk-$1" walk "$1" 100 1999 0xf8000 "${2:-0}"; }
pzoff() { # TAG BLOCK [FIRST] : poison some pfns of a memory block, and take it back, so that it can go offline
    _s=$(($2 * 32768)) # before FIRST the block holds its own memmap: taking an error back would free a piece of that
    {
        for _d in 0 3 511 512 777 5000 32767; do echo "hard $((_s + _d)) $1:blk$2+$_d"; done
        echo "hard $((_s + 777)) $1:again"
        for _d in 1024 900; do echo "soft $((_s + _d)) $1:blk$2+$_d"; done
        for _d in 0 3 511 512 777 5000 32767 1024 900; do
            [ $_d -ge "${3:-0}" ] && echo "unpoison $((_s + _d)) $1:blk$2+$_d"
        done
    } >/tmp/pl.txt
    lab poisonlist </tmp/pl.txt
}
ls -d $M/memory[0-9]* | sed 's/.*memory//' >/tmp/bootblks
