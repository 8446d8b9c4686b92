#!/usr/bin/env bash
# Makes the results of a run that you trust the new baseline, for you to commit (docs/ci.md):
#
#   examples/ci/renew-baseline.sh [RESULTS]
set -euo pipefail
results=${1:-ci-results}
baseline=${CI_BASELINE:-$(dirname "$0")/baseline}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

vlbench results export --results "$results" --out "$new/baseline.tar.gz" # without weights and logs
vlbench results import "$new/baseline.tar.gz" --results "$new/baseline"  # recomputes every number
mkdir -p "$baseline"
rm -rf "$baseline/runs"
mv "$new/baseline/runs" "$baseline/"
