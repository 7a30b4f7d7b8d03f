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
code=0
orchestrate run "$INPUT_FILE" --json "${arguments[@]}" > "$summary" || code=$?
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
