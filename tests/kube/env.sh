# Paths and addresses of the test cluster; source me. ORRERY_KUBE is where everything is kept.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
R=${ORRERY_KUBE:-${XDG_CACHE_HOME:-$HOME/.cache}/orrery/kube}
DIGEST=$(cat "$HERE"/tools/*/go.sum | sha256sum | cut -c1-12)
BIN=${BIN:-$R/bin-$DIGEST}
ROOT=${ROOT:-$R/cluster}        # what a cluster leaves behind: keys, logs, data; `down.sh wipe` removes it
STORE=$R/images                 # what containerd keeps of images, from one cluster to the next
IP=${IP:-10.123.46.1}           # the node's address, on a bridge without ports; 127.0.0.1: the API server alone, no root needed
IF=orreryk8s0
PODS=10.244.78.0/24
SERVICES=10.97.0.0/16
RUN=${RUN:-$ROOT/run}
API_PORT=${API_PORT:-27443}
ETCD_PORT=${ETCD_PORT:-27379}
GROUP=orreryk8s                 # the cgroup of the pods
CTR="ctr -a $ROOT/containerd.sock -n k8s.io"
HIERARCHIES="cpu cpuacct cpuset memory devices freezer blkio pids systemd"
export KUBECONFIG=$ROOT/admin.kubeconfig
