#!/bin/bash
# engine.sh get|start|stop: a container engine of its own beside whatever else runs here.
# Own socket, data, bridge and address pool: a second engine on docker0 would delete it under the first.
set -euo pipefail
. "$(dirname "$0")/env.sh"

get() { # Engine 26.1, Compose 2.26, Buildx 0.13 of the next Debian release, unpacked, with this release's runc
  [ -e "$ENGINE/complete" ] && return 0
  local needed=() apt debian=/usr/share/keyrings/debian-archive-keyring.gpg
  for tool in iptables runc mmdebstrap; do command -v $tool >/dev/null || needed+=("$tool"); done
  [ ${#needed[@]} = 0 ] || { apt-get update -q; apt-get install -y -q --no-install-recommends "${needed[@]}"; }
  mkdir -p "$ENGINE"/{lists/partial,cache/archives/partial,debs,root,config}
  echo "deb [signed-by=$debian] $MIRROR trixie main" >"$ENGINE/sources.list"
  apt="apt-get -q -o Dir::Etc::sourcelist=$ENGINE/sources.list -o Dir::Etc::sourceparts=-
    -o Dir::State::lists=$ENGINE/lists -o Dir::Cache=$ENGINE/cache -o APT::Default-Release=trixie
    -o APT::Sandbox::User=root -o Acquire::Languages=none"
  $apt update
  (cd "$ENGINE/debs" && $apt download docker.io docker-cli docker-compose docker-buildx containerd tini)
  for deb in "$ENGINE"/debs/*.deb; do dpkg -x "$deb" "$ENGINE/root"; done
  ln -sf "$(command -v runc)" "$ENGINE/root/usr/bin/runc"
  ln -sf tini-static "$ENGINE/root/usr/bin/docker-init"
  ln -sf ../bin/docker "$ENGINE/root/usr/sbin/docker"
  ln -sfn "$ENGINE/root/usr/libexec/docker/cli-plugins" "$ENGINE/config/cli-plugins"
  touch "$ENGINE/complete"
}

start() {
  docker info >/dev/null 2>&1 && { echo "engine already up, pid $(cat "$RUN/pid")"; return 0; }
  ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip addr replace 10.201.255.1/24 dev "$BRIDGE" && ip link set "$BRIDGE" up
  setsid nohup dockerd -H "$DOCKER_HOST" --data-root "$RUN/data" --exec-root "$RUN/exec" -p "$RUN/pid" \
    --bridge "$BRIDGE" --default-address-pool base=10.201.0.0/17,size=24 >"$RUN/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 300); do docker info >/dev/null 2>&1 && return 0; sleep 0.1; done
  echo "the engine did not answer within 30 s:" >&2; tail -n 5 "$RUN/dockerd.log" >&2; return 1
}

stop() { # by its own pid (its containerd goes with it), then its bridge, rules and the data root's self bind mount
  local pid; pid=$(cat "$RUN/pid" 2>/dev/null || true)
  if [ -n "$pid" ]; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  fi
  ip link del "$BRIDGE" 2>/dev/null || true
  umount "$RUN/data" 2>/dev/null || true
  for table in filter nat; do
    { iptables -t $table -S 2>/dev/null || true; } | { grep -- "$BRIDGE" || true; } | sed 's/^-A/-D/' |
      while read -r rule; do iptables -t $table $rule 2>/dev/null || true; done
  done
}

[ "$(id -u)" = 0 ] || { echo "the engine needs root, this is $(id -un)" >&2; exit 1; }
case ${1:-} in get|start|stop) "$1" ;; *) echo "usage: engine.sh get|start|stop" >&2; exit 2 ;; esac
