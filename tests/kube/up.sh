#!/bin/bash
# up.sh api|node: etcd and the API server alone (3 s), or with a controller manager, a scheduler, containerd, a kubelet,
# Services and DNS too (about 10 s). Only what this starts is ended by down.sh.
set -euo pipefail
. "$(dirname "$0")/env.sh"
MODE=${1:-node}
[ -e "$BIN/complete" ] || { echo "the binaries must be in $BIN; tests/kube/build.sh makes them" >&2; exit 1; }
mkdir -p "$RUN" "$ROOT"/{pki,etc,cni}
chmod 700 "$ROOT/pki"
start=$(date +%s%N)
say() { printf '%6d ms  %s\n' $((($(date +%s%N) - start) / 1000000)) "$*"; }

begin() { # NAME COMMAND...: in a session of its own, with a pid file and a log
  local name=$1; shift
  setsid "$@" >"$ROOT/$name.log" 2>&1 </dev/null &
  echo $! >"$RUN/$name.pid"
}
until_ok() { # NAME SECONDS COMMAND...: until it answers, or its process is gone, or the time is up
  local name=$1 deadline=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$(cat "$RUN/$name.pid")" 2>/dev/null && [ $SECONDS -lt $deadline ] || {
      echo "$name did not come up:" >&2; tail -n 20 "$ROOT/$name.log" >&2; exit 1; }
    sleep 0.1
  done
}

for file in "$HERE"/config/*; do
  sed "s#@ROOT@#$ROOT#g; s#@STORE@#$STORE#g; s#@GROUP@#$GROUP#g; s#@IP@#$IP#g; s#@PODS@#$PODS#g" "$file" >"$ROOT/etc/$(basename "$file")"
done
if [ "$IP" != 127.0.0.1 ]; then
  ip link show $IF >/dev/null 2>&1 || ip link add $IF type bridge
  ip addr replace "$IP/32" dev $IF; ip link set $IF up
fi

# ---- who may speak: a token each, made now; one key pair for the tokens of service accounts
[ -s "$ROOT/pki/sa.key" ] || { openssl genrsa -out "$ROOT/pki/sa.key" 2048; openssl rsa -in "$ROOT/pki/sa.key" -pubout -out "$ROOT/pki/sa.pub"; } 2>/dev/null
if [ ! -s "$ROOT/pki/tokens.csv" ]; then
  while IFS='|' read -r name user group; do
    token=$(head -c 24 /dev/urandom | base64 | tr -dc a-zA-Z0-9)
    echo "$token,$user,$name,\"$group\"" >>"$ROOT/pki/tokens.csv"
    cat >"$ROOT/$name.kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$IP:$API_PORT", certificate-authority: $ROOT/pki/apiserver.crt}}]
users: [{name: u, user: {token: $token}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
X
  done <<X
admin|admin|system:masters
manager|system:kube-controller-manager|
scheduler|system:kube-scheduler|
kubelet|system:node:n1|system:nodes
proxy|system:kube-proxy|
X
fi

begin etcd "$BIN/etcd" --data-dir "$ROOT/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
  --listen-peer-urls "http://127.0.0.1:$((ETCD_PORT + 1))"
alone=; [ "$MODE" != api ] || alone="--disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none"
begin apiserver "$BIN/kube-apiserver" --etcd-servers="http://127.0.0.1:$ETCD_PORT" --bind-address="$IP" --advertise-address="$IP" \
  --secure-port="$API_PORT" --cert-dir="$ROOT/pki" --service-cluster-ip-range="$SERVICES" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$ROOT/pki/sa.pub" \
  --service-account-signing-key-file="$ROOT/pki/sa.key" --token-auth-file="$ROOT/pki/tokens.csv" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction $alone --allow-privileged=true --profiling=false \
  --kubelet-preferred-address-types=InternalIP
K=$BIN/kubectl
until_ok apiserver 120 "$K" get --raw=/readyz
until_ok apiserver 60 "$K" get namespace default
say "API server ready"
[ "$MODE" = api ] && exit 0

begin manager "$BIN/kube-controller-manager" --kubeconfig="$ROOT/manager.kubeconfig" --root-ca-file="$ROOT/pki/apiserver.crt" \
  --service-account-private-key-file="$ROOT/pki/sa.key" --use-service-account-credentials --leader-elect=false --secure-port=0 --profiling=false
begin scheduler "$BIN/kube-scheduler" --kubeconfig="$ROOT/scheduler.kubeconfig" --leader-elect=false --secure-port=0 --profiling=false

# ---- the node
[ -s "$RUN/sysctls" ] || sysctl -n vm.overcommit_memory kernel.panic kernel.panic_on_oops vm.panic_on_oom >"$RUN/sysctls"
sysctl -qw net.ipv4.ip_forward=1
if [ -d /sys/fs/cgroup/cpuset ]; then # version 1: a root of our own in every hierarchy
  for h in $HIERARCHIES; do mkdir -p "/sys/fs/cgroup/$h/$GROUP"; done
  for f in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$f" >"/sys/fs/cgroup/cpuset/$GROUP/cpuset.$f"; done
  echo 4096 >"/sys/fs/cgroup/cpu/$GROUP/cpu.shares" # all pods together are one group: not the share of one process
fi
mkdir -p "$ROOT/containerd" "$STORE"; cp "$ROOT/etc/10-ptp.conflist" "$ROOT/cni/"
begin containerd containerd -c "$ROOT/etc/containerd.toml"
until_ok containerd 60 grep -q "Start streaming server" "$ROOT/containerd.log" # only then does it answer a kubelet
until_ok containerd 60 $CTR version
[ -n "$($CTR images ls -q name==docker.io/orrery/pause:1)" ] || python3 "$HERE/pause.py" | $CTR images import - >/dev/null
say "containerd ready"
begin kubelet "$BIN/kubelet" --config="$ROOT/etc/kubelet.yaml" --kubeconfig="$ROOT/kubelet.kubeconfig" --hostname-override=n1 \
  --node-ip="$IP" --root-dir="$ROOT/kubelet" --cert-dir="$ROOT/kubelet/pki" ${KUBELET_FLAGS:-}
until_ok kubelet 120 "$K" get node n1
until_ok kubelet 120 "$K" wait --for=condition=Ready node/n1 --timeout=1s
say "node Ready"
# a container engine beside us makes the kernel drop what is forwarded, unless a rule says otherwise
if command -v iptables >/dev/null; then for way in -s -d; do iptables -I FORWARD $way "$PODS" -j ACCEPT; done; fi
# Services through nftables: a table of its own, nobody's iptables are touched
begin proxy "$BIN/kube-proxy" --kubeconfig="$ROOT/proxy.kubeconfig" --hostname-override=n1 --proxy-mode=nftables \
  --cluster-cidr="$PODS" --conntrack-max-per-core=0 --metrics-bind-address=127.0.0.1:27049 --healthz-bind-address=127.0.0.1:27056 \
  --nodeport-addresses="$IP/32"
until_ok proxy 60 sh -c "nft list table ip kube-proxy | grep -q ${SERVICES%.0.0/16}"
begin dns "$BIN/coredns" -conf "$ROOT/etc/Corefile"
until_ok dns 60 bash -c "exec 3<>/dev/tcp/$IP/27181"
until_ok manager 60 "$K" get serviceaccount default
say "Services, DNS and service accounts ready"
