#!/bin/sh
# Tries the newest version of the API with a part of the requests, and goes back when an alarm rings. Run it after
# `terraform apply -var='versions={api="<the one before>"}'`, which has put worker and sweeper on the newest already.
#
#   canary.sh [name] [percent] [minutes]     with the AWS CLI
set -eu
name=${1:-image-analyzer}
percent=${2:-10}
minutes=${3:-15}

live=$(aws lambda get-alias --function-name "$name-api" --name live --query FunctionVersion --output text)
newest=$(aws lambda list-versions-by-function --function-name "$name-api" --query 'Versions[].Version' --output text |
  tr '\t' '\n' | grep -v LATEST | sort -n | tail -n 1)
[ "$live" != "$newest" ] || { echo "$name-api is on version $newest already: there is nothing to try."; exit 0; }

share() {
  aws lambda update-alias --function-name "$name-api" --name live --routing-config "AdditionalVersionWeights={$1}" \
    --query FunctionVersion --output text >/dev/null
}
# By name, not by prefix: another deployment's may begin alike.
alarms='dead-letters-jobs dead-letters-subscriber dead-letters-webhook oldest-job images-wait nothing-completes failure-ratio
events-refused events-lost-subscriber events-lost-webhook cost-today budget-spent sweeper-silent api-errors worker-errors
sweeper-errors worker-throttles api-5xx api-latency'
ringing() {
  # shellcheck disable=SC2046,SC2086 # words apart
  aws cloudwatch describe-alarms --alarm-names $(printf "$name-%s " $alarms) --query "MetricAlarms[?StateValue=='ALARM'].AlarmName" --output text
}

# Also where this is interrupted.
trap 'share ""' EXIT
trap 'exit 1' INT TERM

before=$(ringing)
[ -z "$before" ] || { echo "Nothing is tried while an alarm rings: $before" >&2; exit 1; }
share "$newest=$(awk -v percent="$percent" 'BEGIN { print percent / 100 }')"
echo "$name-api: version $newest has $percent % of the requests for $minutes minutes"
while [ "$minutes" -gt 0 ]; do
  sleep "${CANARY_PAUSE:-60}"
  minutes=$((minutes - 1))
  now=$(ringing)
  [ -z "$now" ] || { echo "back to version $live, because of $now" >&2; exit 1; }
done
echo "no alarm has rung: apply without versions"
