#!/usr/bin/env bash
# Users that wait for their answers, with Locust: tests/bench/load/run.sh [LOCUST]
#
#   HOST, PORT    where the service listens           (127.0.0.1, 3000)
#   USERS         visitors at once                    (16)
#   SPAWN_RATE    visitors that arrive each second    (8)
#   RUN_TIME      how long                            (30s)
#   REPORTS       folder of load.html and load_*.csv  (reports)
#
# Exits 1 if any request failed or an endpoint never answered.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

REPORTS=${REPORTS:-reports}
mkdir -p "$REPORTS"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
exec "${1:-locust}" --headless --only-summary --locustfile tests/bench/load/locustfile.py \
    --host "http://${HOST:-127.0.0.1}:${PORT:-3000}" \
    --users "${USERS:-16}" --spawn-rate "${SPAWN_RATE:-8}" --run-time "${RUN_TIME:-30s}" \
    --stop-timeout 10s --html "$REPORTS/load.html" --csv "$REPORTS/load"
