#!/bin/bash
# down.sh [wipe]: ends what up.sh started, by its pid files, and takes back mounts, cgroups, links and kernel settings.
. "$(dirname "$0")/env.sh"

end() { # NAME TENTHS: ask, wait, then kill
  local file=$RUN/$1.pid pid; [ -s "$file" ] || return 0
  pid=$(cat "$file"); kill "$pid" 2>/dev/null
  for ((i = 0; i < ${2:-50}; i++)); do case $(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) in ''|Z) break ;; esac; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null; rm -f "$file"
}

end kubelet; end scheduler; end manager; end dns
if [ -s "$RUN/proxy.pid" ]; then
  end proxy
  for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null; done
fi
if [ -S "$ROOT/containerd.sock" ]; then
  tasks=$($CTR tasks ls -q 2>/dev/null)
  for task in $tasks; do $CTR tasks kill -s KILL "$task" >/dev/null 2>&1; done
  [ -z "$tasks" ] || { sleep 0.5; $CTR tasks rm -f $tasks >/dev/null 2>&1; }
  containers=$($CTR containers ls -q 2>/dev/null)
  [ -z "$containers" ] || $CTR containers rm $containers >/dev/null 2>&1
fi
end apiserver 15 # waits for watches by itself
end etcd; end containerd
for pid in $(pgrep -f "^[^ ]*containerd-shim.*$ROOT/containerd.sock"); do kill "$pid" 2>/dev/null; done
awk -v root="$ROOT/" 'index($2, root) == 1 { print $2 }' /proc/self/mounts | sort -r |
  while read -r mount; do umount "$mount" 2>/dev/null || umount -l "$mount"; done
for h in $HIERARCHIES unified; do
  [ ! -d "/sys/fs/cgroup/$h/$GROUP" ] || find "/sys/fs/cgroup/$h/$GROUP" -depth -type d -exec rmdir {} \; 2>/dev/null
done
for link in $(ip -4 -o addr | awk -v net="${PODS%.0/24}." 'index($4, net) == 1 { print $2 }'); do ip link del "$link"; done
ip link del $IF 2>/dev/null
for way in -s -d; do while iptables -D FORWARD $way "$PODS" -j ACCEPT 2>/dev/null; do :; done; done
if [ -s "$RUN/sysctls" ]; then
  read -r overcommit panic oops oom <<<"$(tr '\n' ' ' <"$RUN/sysctls")"
  sysctl -qw vm.overcommit_memory="$overcommit" kernel.panic="$panic" kernel.panic_on_oops="$oops" vm.panic_on_oom="$oom"
  rm -f "$RUN/sysctls"
fi
[ "${1:-}" != wipe ] || rm -rf "$ROOT"
exit 0
