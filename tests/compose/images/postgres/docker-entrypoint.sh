#!/bin/bash
# The official image's contract: POSTGRES_* and their _FILE variants read first, then the drop to uid 999, initdb,
# the scripts of /docker-entrypoint-initdb.d on a server that no network sees, and the server itself.
set -eo pipefail
[[ "${1:0:1}" == - ]] && set -- postgres "$@"
[[ "$1" == postgres ]] || exec "$@"
# The official server is compiled with this folder for its sockets, ours with /tmp.
set -- "$@" -c unix_socket_directories=/var/run/postgresql,/tmp
for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB; do
  file=${name}_FILE
  [[ -z "${!file}" ]] || { export $name="$(<"${!file}")"; unset "$file"; }
done
: "${POSTGRES_USER:=postgres}"; : "${POSTGRES_DB:=$POSTGRES_USER}"
export POSTGRES_USER POSTGRES_DB
if [[ "$(id -u)" == 0 ]]; then
  if grep -q ' /var/lib/postgresql/data ' /proc/self/mountinfo; then
    echo "Error: in 18+ mount at /var/lib/postgresql, not /var/lib/postgresql/data"; exit 1
  fi
  mkdir -p "$PGDATA"; chown -R postgres "$PGDATA"; chmod 700 "$PGDATA"
  exec setpriv --reuid=999 --regid=999 --clear-groups env HOME=/var/lib/postgresql "$0" "$@"
fi
mkdir -p "$PGDATA"; chmod 700 "$PGDATA"
if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
  if [[ -z "$POSTGRES_PASSWORD" && "$POSTGRES_HOST_AUTH_METHOD" != trust ]]; then
    echo "Error: Database is uninitialized and superuser password is not specified."; exit 1
  fi
  initdb -D "$PGDATA" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  sed -i "s/^#listen_addresses.*/listen_addresses = '*'/" "$PGDATA/postgresql.conf"
  PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -o "$(printf '%q ' "${@:2}") -c listen_addresses='' -p 5432" -w start
  export PGHOST=/var/run/postgresql PGPASSWORD=$POSTGRES_PASSWORD
  sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$POSTGRES_USER" -d "$POSTGRES_DB")
  [[ "$POSTGRES_DB" == postgres ]] || psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in *.sh) . "$file" ;; *.sql) "${sql[@]}" -f "$file" ;; esac
  done
  PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGHOST PGPASSWORD
  echo "PostgreSQL init process complete; ready for start up."
fi
exec "$@"
