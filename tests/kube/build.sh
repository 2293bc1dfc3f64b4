#!/bin/bash
# Builds the control plane, the node, the cluster's DNS and OpenKruise's manager from the Go module proxy, once per go.sum.
# What a node needs beside them (containerd, runc, CNI, nftables) comes from Debian, where root may install it.
# Prints the folder of the binaries. About twelve minutes cold on two cores, a moment when nothing changed.
set -euo pipefail
. "$(dirname "$0")/env.sh"

packages() { # PROGRAM PACKAGE ...: install the packages of programs that are not there
  local needed=()
  while [ $# -gt 0 ]; do command -v "$1" >/dev/null || needed+=("$2"); shift 2; done
  [ ${#needed[@]} = 0 ] || { apt-get update -q; apt-get install -y -q --no-install-recommends "${needed[@]}"; } >&2
}
[ "$(id -u)" != 0 ] || packages containerd containerd runc runc /usr/lib/cni/ptp containernetworking-plugins \
  /usr/sbin/nft nftables busybox busybox-static

[ -e "$BIN/complete" ] && [ -e "$KRUISE/complete" ] && { echo "$BIN"; exit 0; }
command -v go >/dev/null || { echo "go 1.26 must be on PATH to build the cluster, was not found" >&2; exit 1; }
mkdir -p "$BIN" "$KRUISE"

build() { # MODULE TARGET PACKAGE: one binary of one module folder, with the version stamped in
  cd "$HERE/tools/$1"
  local version stamp
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes 2>/dev/null || echo v0.0.0)
  stamp=k8s.io/component-base/version
  CGO_ENABLED=0 nice -n 19 go build -trimpath -p 2 -o "$2" -ldflags "-s -w \
    -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(cut -d. -f2 <<<"$version") \
    -X $stamp.gitCommit=unknown -X $stamp.gitTreeState=clean -X $stamp.buildDate=2026-01-01T00:00:00Z" "$3"
  echo "built $2" >&2
}

if [ ! -e "$BIN/complete" ]; then
  for part in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    build control-plane "$BIN/$part" "k8s.io/kubernetes/cmd/$part"
  done
  build control-plane "$BIN/etcd" go.etcd.io/etcd/server/v3
  build dns "$BIN/coredns" github.com/coredns/coredns
  touch "$BIN/complete"
fi
if [ ! -e "$KRUISE/complete" ]; then
  build openkruise "$KRUISE/manager" github.com/openkruise/kruise
  source=$(go list -m -f '{{.Dir}}' github.com/openkruise/kruise)
  "$BIN/kubectl" kustomize "$source/config/default" >"$KRUISE/install.yaml"
  touch "$KRUISE/complete"
fi
echo "$BIN"
