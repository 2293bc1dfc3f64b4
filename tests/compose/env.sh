# Where the container tests keep their things; source me. ORRERY_COMPOSE is the cache folder.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
W=${ORRERY_COMPOSE:-${XDG_CACHE_HOME:-$HOME/.cache}/orrery/compose}
ENGINE=$W/engine   # the engine's packages, unpacked
RUN=$W/run         # its socket, data, pid and log
PARTS=$W/parts     # the servers that the stand-in images hold
BRIDGE=${ORRERY_COMPOSE_BRIDGE:-orrerydk0}
mkdir -p "$ENGINE" "$RUN" "$PARTS"
export DOCKER_HOST=unix://$RUN/docker.sock DOCKER_CONFIG=$ENGINE/config DOCKER_BUILDKIT=1
export PATH=$ENGINE/root/usr/sbin:$ENGINE/root/usr/bin:$PATH

# The Debian mirror that this machine already uses.
MIRROR=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | awk '
  /^URIs:/ { print $2; exit }
  /^deb /  { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }')

timed() { # NAME COMMAND...: run it quietly, print how long it took, or the end of its log
  local name=$1 start=$SECONDS; shift
  "$@" >"$W/$name.log" 2>&1 || { echo "$name failed, see $W/$name.log:" >&2; tail -n 20 "$W/$name.log" >&2; return 1; }
  printf '%-16s %4d s\n' "$name" $((SECONDS - start))
}
