#!/usr/bin/env bash
# A smoke benchmark without a GPU, and its gate against a committed baseline (docs/ci.md):
#
#   examples/ci/smoke.sh [METHOD]
#
# Ends with 0 passed, 1 worse or a run failed, 4 nothing to compare; others as in docs/cli.md.
set -euo pipefail
method=${1:-shared-adapter}
results=${CI_RESULTS:-ci-results}
baseline=${CI_BASELINE:-$(dirname "$0")/baseline}
max_drop=${CI_MAX_DROP:-15}

if [ -e "$results/runs" ]; then
    echo "$results has runs already, and changed code does not make a run new: remove it first." >&2
    exit 2
fi
vlbench run --method "$method" --tasks image-text --limit 300 --set train.epochs=2 --results "$results"

gate=(vlbench compare "$method" --results "$results" --baseline "$baseline" --include smoke --max-drop "$max_drop")
"${gate[@]}" --format json --out "$results/gate.json" || true # the last line decides
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    "${gate[@]}" --format markdown >> "$GITHUB_STEP_SUMMARY" || true
fi
"${gate[@]}"
