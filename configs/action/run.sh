#!/usr/bin/env bash
# A step of action.yml: runs the jobs file, tells later steps which run that was, and ends with its exit code.
set -uo pipefail

arguments=()
while IFS= read -r line; do
    [[ -z $line ]] || arguments+=("$line")
done <<< "${INPUT_ARGUMENTS:-}"
[[ -z ${INPUT_HOME:-} ]] || export ORCHESTRATE_HOME=$INPUT_HOME
[[ -z ${ORCHESTRATE_HOME:-} || -z ${GITHUB_ENV:-} ]] || printf 'ORCHESTRATE_HOME=%s\n' "$ORCHESTRATE_HOME" >> "$GITHUB_ENV"

summary=$(mktemp)
# When a job is cancelled the runner signals this shell alone, and again seconds later: the run then drains, and then ends.
trap 'kill -TERM "$run" 2> /dev/null' INT TERM
orchestrate run "$INPUT_FILE" --json "${arguments[@]}" > "$summary" &
run=$!
wait "$run"
code=$?
# A signal ends the wait, not the run.
while kill -0 "$run" 2> /dev/null; do
    wait "$run"
    code=$?
done
# A run that was refused has no summary.
if [[ -s $summary ]]; then
    "${PYTHON:-python3}" -I -c '
import json, sys
told = json.load(open(sys.argv[1], encoding="utf-8"))
print("run=" + told["run_id"], "status=" + told["status"], sep="\n")
' "$summary" >> "$GITHUB_OUTPUT"
fi
rm -f "$summary"
exit "$code"
