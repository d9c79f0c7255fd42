#!/usr/bin/env bash
# MLflow's server and its PostgreSQL on a cluster's head, both on loopback.
#
#   KMCL_STORE=/shared/kmcl_store deploy/head_services.sh start   starts what does not run; safe to repeat
#   KMCL_STORE=/shared/kmcl_store deploy/head_services.sh dump    saves both databases into the store
#
# The head's disk goes with the head: dump before `ray down`. A start on a new head reads the dump back.
# The password is made here, is kept in ~/.pgpass alone (mode 600), and never stands on a command line.
# PGHOST and PGPORT name another PostgreSQL; KMCL_PG_ADMIN is the psql of somebody who may create roles there.
set -euo pipefail
umask 077

action=${1:?start or dump}
store=${KMCL_STORE:?the folder that all nodes see}
host=${PGHOST:-127.0.0.1}
port=${PGPORT:-5432}
mlflow_port=${KMCL_MLFLOW_PORT:-5000}
export PGPASSFILE=$HOME/.pgpass
bin=${KMCL_BIN:-$(cd "$(dirname "$0")/.." && pwd)/.venv/bin}
cd /  # psql, run as postgres, may not see this user's folders

admin() { ${KMCL_PG_ADMIN:-sudo -u postgres psql} -v ON_ERROR_STOP=1 -qAt; }

password() {
  touch ~/.pgpass && chmod 600 ~/.pgpass
  if ! grep -q "^$host:$port:\*:kmcl:" ~/.pgpass; then
    echo "$host:$port:*:kmcl:$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" >>~/.pgpass
  fi
  sed -n "s/^$host:$port:\*:kmcl://p" ~/.pgpass
}

# A database gets its name last: one whose restoring broke off is not taken for a whole one.
create_database() {
  [ -z "$(admin <<<"SELECT 1 FROM pg_database WHERE datname = '$1'")" ] || return 0
  admin <<<"DROP DATABASE IF EXISTS $1_new" 2>/dev/null
  admin <<<"CREATE DATABASE $1_new OWNER kmcl"
  if [ -s "$store/postgres/$1.sql" ]; then
    psql -w -h "$host" -p "$port" -U kmcl -d "$1_new" -v ON_ERROR_STOP=1 -q -o /dev/null -f "$store/postgres/$1.sql"
  fi
  admin <<<"ALTER DATABASE $1_new RENAME TO $1"
}

start_postgres() {
  local secret
  secret=$(password)
  [ -n "$(admin <<<"SELECT 1 FROM pg_roles WHERE rolname = 'kmcl'")" ] || admin <<<"CREATE ROLE kmcl LOGIN"
  admin <<<"ALTER ROLE kmcl PASSWORD '$secret'"
  create_database kmcl_mlflow
  create_database kmcl_studies
}

mlflow_answers() { "$bin/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$mlflow_port/health')" 2>/dev/null; }

start_mlflow() {
  mlflow_answers && return
  mkdir -p ~/.kmcl "$store/artifacts"
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true setsid nohup \
    "$bin/mlflow" server --host 127.0.0.1 --port "$mlflow_port" --workers 1 \
    --backend-store-uri "postgresql+psycopg://kmcl@$host:$port/kmcl_mlflow" \
    --artifacts-destination "$store/artifacts" >~/.kmcl/mlflow.log 2>&1 </dev/null &
  echo $! >~/.kmcl/mlflow.pid
  for _ in $(seq 90); do
    mlflow_answers && return
    kill -0 "$(cat ~/.kmcl/mlflow.pid)" 2>/dev/null || break
    sleep 2
  done
  echo "MLflow does not answer on 127.0.0.1:$mlflow_port; its log, ~/.kmcl/mlflow.log, ends:" >&2
  tail -5 ~/.kmcl/mlflow.log >&2
  return 1
}

case $action in
  start)
    # Not joined by &&, which would have failures inside the first pass unnoticed.
    start_postgres
    start_mlflow
    ;;
  dump)
    mkdir -p "$store/postgres"
    for name in kmcl_mlflow kmcl_studies; do
      pg_dump -w -h "$host" -p "$port" -U kmcl --no-owner -f "$store/postgres/$name.sql.new" "$name"
      mv "$store/postgres/$name.sql.new" "$store/postgres/$name.sql"
    done
    ;;
  *) echo "usage: head_services.sh start|dump" >&2; exit 2 ;;
esac
