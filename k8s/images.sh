#!/bin/bash
# Builds our images, names every image by digest and writes k8s/images/images.env, which overlays, chains and the admission
# policy read. Two ways for the images to reach the machines:
#   REGISTRY=registry.example/orrery k8s/images.sh    pushes ours there, names the official ones where they come from
#   INTO="ctr -n k8s.io" k8s/images.sh                loads all into a containerd, without a registry; for kind:
#                                                     INTO="docker exec -i kind-control-plane ctr -n k8s.io"
# STAGES="CLEAN=my/clean:1 SORT=my/sort:1" adds images of your own chains, each under a name that tasks may say.
set -euo pipefail
out=$(realpath -m "${OUT:-$(dirname "$0")/images/images.env}")
cd "$(dirname "$0")/.."
. ./.env

# A colon before the last slash belongs to the port of a registry; an image without a tag has the tag latest.
name_of() { case ${1##*/} in *:*) echo "${1%:*}" ;; *) echo "$1" ;; esac; }
tag_of() { case ${1##*/} in *:*) echo "${1##*:}" ;; *) echo latest ;; esac; }
full() { # the name that containerd knows: with its registry
  case $1 in */*) case ${1%%/*} in *.* | *:* | localhost) echo "$1" ;; *) echo "docker.io/$1" ;; esac ;;
    *) echo "docker.io/library/$1" ;; esac; }

STAGE_IMAGE=$(name_of "$ORRERY_IMAGE")-stage:$(tag_of "$ORRERY_IMAGE")
OURS="SERVICES=$ORRERY_IMAGE STAGE=$STAGE_IMAGE ${STAGES:-}"
OFFICIAL="POSTGRES=$POSTGRES_IMAGE TSDB=$TSDB_IMAGE KAFKA=$KAFKA_IMAGE CONNECT=$CONNECT_IMAGE"

build() { docker build -q -f services/Dockerfile --build-arg PYTHON_IMAGE="$PYTHON_IMAGE" --target "$1" -t "$2" . >/dev/null; }

in_registry() { # NAME:TAG -> NAME@DIGEST; an image that was pushed elsewhere too has a digest for each place
  docker image inspect -f '{{range .RepoDigests}}{{println .}}{{end}}' "$1" |
    awk -v name="$(name_of "$1")@" 'index($0, name) == 1 && !found { print; found = 1 } END { exit !found }' ||
    { echo "$1 must have a digest of its registry, has none: push it, or pull it" >&2; return 1; }; }

from_registry() {
  local row reference digest
  for row in $OURS; do
    reference=${row#*=}; reference=$REGISTRY/$(basename "$(name_of "$reference")"):$(tag_of "$reference")
    docker tag "${row#*=}" "$reference"; docker push -q "$reference" >/dev/null
    digest=$(in_registry "$reference") # by itself: a failure inside of echo is none
    echo "${row%%=*}=$digest"
  done
  for row in $OFFICIAL; do
    docker pull -q "${row#*=}" >/dev/null
    digest=$(in_registry "${row#*=}")
    echo "${row%%=*}=$digest"
  done
}

digest_of() { $INTO images ls "name==$1" | awk 'NR == 2 { print $3 }'; }

into_containerd() { # what is not there yet, in one archive: what images share is carried once
  local row id reference digest missing=()
  for row in $OURS $OFFICIAL; do
    docker image inspect "${row#*=}" >/dev/null 2>&1 || docker pull -q "${row#*=}" >/dev/null
    id=$(docker image inspect -f '{{.Id}}' "${row#*=}")
    [ -n "$(digest_of "$id")" ] || missing+=("${row#*=}")
  done
  [ ${#missing[@]} = 0 ] || docker save "${missing[@]}" | $INTO images import --all-platforms - >/dev/null
  for row in $OURS $OFFICIAL; do # containerd knows an image by its name, a kubelet's by the digest of its configuration too
    id=$(docker image inspect -f '{{.Id}}' "${row#*=}"); reference=$(full "$(name_of "${row#*=}"):$(tag_of "${row#*=}")")
    digest=$(digest_of "$id")
    if [ -n "$digest" ]; then $INTO images tag --force "$id" "$reference" >/dev/null; else digest=$(digest_of "$reference"); fi
    [ -n "$digest" ] || { echo "$reference must be in the containerd of '$INTO' after the import, is not" >&2; exit 1; }
    $INTO images tag --force "$reference" "$(name_of "$reference")@$digest" >/dev/null
    echo "${row%%=*}=$(name_of "$reference")@$digest"
  done
}

[ -n "${INTO:-}${REGISTRY:-}" ] || { sed -n '2,8p' "$0" >&2; exit 2; }
build services "$ORRERY_IMAGE"
build stage "$STAGE_IMAGE"
if [ -n "${INTO:-}" ]; then into_containerd >"$out.new"; else from_registry >"$out.new"; fi
mv "$out.new" "$out"
cat "$out"
