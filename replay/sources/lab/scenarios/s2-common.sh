# S2 pieces: ZONE_DEVICE namespaces (legacy pmem carved with memmap=) sharing sections with System RAM
need hwpoison_inject libcrc32c crc32c_generic ext4
regions() { awk '/Persistent Memory \(legacy\)/{split($1,a,"-"); print "0x" a[1], "0x" a[2]}' /proc/iomem; }
walk_near() { # NAME : dense walk over every section touched by a pmem range, plus the neighbours' edges
  : > /tmp/r.txt; regions > /tmp/regs.txt
  while read s e; do s=$((s/4096)); e=$(((e+1)/4096)); for b in $s $e; do
      lo=$((b-1100)); hi=$((b+1100)); echo "$lo $hi 1"; done
      echo "$((s/32768*32768)) $(((e+32767)/32768*32768)) 61"; echo "$((s/32768*32768-40)) $((s/32768*32768+40)) 1"; echo "$(((e+32767)/32768*32768-40)) $(((e+32767)/32768*32768+40)) 1"; done < /tmp/regs.txt >> /tmp/r.txt
  cp /tmp/r.txt "$OUT"/walk-$1.ranges; lab walk $1 kpageflags < /tmp/r.txt; }
poison_near() { # TAG : hwpoison around every namespace: RAM side, info block, metadata, data, last page, beyond the end
  regions | while read s e; do s=$((s/4096)); e=$(((e+1)/4096))
    for d in -700 -1 0 1 2 3 64 300 511 512 513 1024; do echo "hard $((s+d)) $1:start$d"; done
    for d in -2 -1 0 700; do echo "hard $((e+d)) $1:end$d"; done
    for d in -701 0 2 512 2000; do echo "soft $((s+d)) $1:start$d"; done
    echo "soft $((e-1)) $1:end-1"; echo "soft $((e+701)) $1:end701"
    echo "hard $((s+1)) $1:again-start1"; echo "hard $((s+2000)) $1:data"; echo "hard $((s+2000)) $1:data-again"
    echo "corrupt $((s+2)) $1:corrupt-start2"; echo "corrupt $((s+2001)) $1:corrupt-data"
    for d in -700 -1 0 512 2000; do echo "unpoison $((s+d)) $1:start$d"; done; for d in 0 700; do echo "unpoison $((e+d)) $1:end$d"; done
  done > /tmp/pl.txt
  case "$KERNEL$FORCE" in 5.10*[0-9]) grep -v 'hard.*:\(start[0-9]\|end-\)\|again\|data\|corrupt\|soft.*:\(start[0-9]\|end-\)' /tmp/pl.txt > /tmp/pl2.txt; mv /tmp/pl2.txt /tmp/pl.txt; note "5.10: injections into the namespace itself left out in state $1 (they pin ZONE_DEVICE pages and hang the next namespace change); done in the final state and in s2p-*";; esac
  lab poisonlist < /tmp/pl.txt; }
setmode() { # MODE MAP [extra]
  rc=0; for n in $(ls /sys/bus/nd/devices | grep '^namespace'); do
    echo "# $n"; if [ "$1" = raw ]; then ndctl create-namespace -f -e $n -m raw || rc=1; else ndctl create-namespace -f -e $n -m $1 -M $2 $3 $4 || rc=1; fi; done; return $rc; }
