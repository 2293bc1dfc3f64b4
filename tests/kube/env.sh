# Paths and addresses of the test cluster; source me. ORRERY_KUBE is where everything is kept.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
R=${ORRERY_KUBE:-${XDG_CACHE_HOME:-$HOME/.cache}/orrery/kube}
DIGEST=$(cat "$HERE"/tools/*/go.sum | sha256sum | cut -c1-12)
BIN=${BIN:-$R/bin-$DIGEST}
RUN=$R/run
