#!/bin/bash
# Builds our images, names every image by digest and writes k8s/images/images.env, which overlays, chains and the admission
# policy read. Two ways for the images to reach the machines:
#   REGISTRY=registry.example/orrery k8s/images.sh    pushes ours there, names the official ones where they come from
#   INTO="ctr -n k8s.io" k8s/images.sh                loads all into a containerd, without a registry; for kind:
#                                                     INTO="docker exec -i kind-control-plane ctr -n k8s.io"
set -euo pipefail
cd "$(dirname "$0")/.."
. ./.env
STAGE_IMAGE=${ORRERY_IMAGE%%:*}-stage:${ORRERY_IMAGE##*:}
out=k8s/images/images.env

build() { docker build -q -f services/Dockerfile --build-arg PYTHON_IMAGE="$PYTHON_IMAGE" --target "$1" -t "$2" . >/dev/null; }
build services "$ORRERY_IMAGE"
build stage "$STAGE_IMAGE"

full() { # the name that containerd knows: with its registry
  case $1 in *.*/*) echo "$1" ;; */*) echo "docker.io/$1" ;; *) echo "docker.io/library/$1" ;; esac; }

from_registry() { # NAME REFERENCE OURS: NAME=reference@digest
  local reference=$2
  if [ "$3" = ours ]; then
    reference=$REGISTRY/$(basename "${2%%:*}"):${2##*:}
    docker tag "$2" "$reference"; docker push -q "$reference" >/dev/null
  else
    docker pull -q "$reference" >/dev/null
  fi
  echo "$1=$(docker image inspect -f '{{index .RepoDigests 0}}' "$reference")"
}

into_containerd() { # NAME REFERENCE: the digest is that of the manifest which containerd makes of it
  local reference digest; reference=$(full "$2")
  docker image inspect "$2" >/dev/null 2>&1 || docker pull -q "$2" >/dev/null
  docker save "$2" | $INTO images import --all-platforms - >/dev/null
  digest=$($INTO images ls "name==$reference" | awk 'NR == 2 { print $3 }')
  [ -n "$digest" ] || { echo "$reference must be in the containerd of '$INTO' after the import, is not" >&2; exit 1; }
  $INTO images tag --force "$reference" "${reference%%:*}@$digest" >/dev/null
  echo "$1=${reference%%:*}@$digest"
}

list() {
  local row
  for row in "SERVICES $ORRERY_IMAGE ours" "STAGE $STAGE_IMAGE ours" "POSTGRES $POSTGRES_IMAGE -" "TSDB $TSDB_IMAGE -" \
    "KAFKA $KAFKA_IMAGE -" "CONNECT $CONNECT_IMAGE -"; do
    set -- $row
    if [ -n "${INTO:-}" ]; then into_containerd "$1" "$2"; else from_registry "$1" "$2" "$3"; fi
  done
}

[ -n "${INTO:-}${REGISTRY:-}" ] || { sed -n '2,7p' "$0" >&2; exit 2; }
list >"$out.new"
mv "$out.new" "$out"
cat "$out"
