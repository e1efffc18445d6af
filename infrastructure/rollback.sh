#!/bin/sh
# Has the functions of a deployment run the release before: within seconds, and without Terraform. The next `apply`
# brings the newest back, so deploy the release that is good next. What is on the release before already stays there: the API
# while a canary tries the newest, and what a run had done which broke off, so that a second run ends it.
#
#   infrastructure/rollback.sh [name]     with the AWS CLI, and the deployment's name (image-analyzer)
set -eu
name=${1:-image-analyzer}

# The release that is live, the version before, and its release: the last word of a version's description (functions.tf).
look() {
  aws lambda list-versions-by-function --function-name "$1" --query 'Versions[].[Version,Description]' --output text |
    awk -v live="$2" '
      $1 == live { now = $NF }
      $1 ~ /^[0-9]+$/ && $1 + 0 < live + 0 && $1 + 0 > found + 0 { found = $1; release = $NF }
      END { print now ? now : "-", found ? found : "-", release ? release : "-" }'
}

for function in api worker sweeper; do
  live=$(aws lambda get-alias --function-name "$name-$function" --name live --query FunctionVersion --output text)
  looked=$(look "$name-$function" "$live")
  eval "live_$function=$live; set -- $looked; now_$function=\$1 version_$function=\$2 before_$function=\$3"
done

# First look at all, so that none goes back where another cannot.
for function in api worker sweeper; do
  eval "live=\$live_$function now=\$now_$function"
  for other in api worker sweeper; do
    eval "other_now=\$now_$other other_before=\$before_$other"
    if [ "$now" = "$other_before" ] && [ "$now" != "$other_now" ]; then eval "version_$function=$live"; fi
  done
  eval "version=\$version_$function"
  if [ "$version" = - ]; then
    echo "$name-$function has no version before $live: this is its first release. Deploy one that is good." >&2
    exit 1
  fi
done

# Of a release that was deployed twice, with another between.
if [ "$live_api$live_worker$live_sweeper" = "$version_api$version_worker$version_sweeper" ]; then
  echo "The versions of $name do not say which release was before: name one of each function by terraform's versions." >&2
  exit 1
fi

# Who writes goes back before who reads: a new job or record is met by no old worker.
for function in api worker sweeper; do
  eval "live=\$live_$function version=\$version_$function"
  aws lambda update-alias --function-name "$name-$function" --name live --function-version "$version" \
    --routing-config AdditionalVersionWeights={} --query FunctionVersion --output text >/dev/null
  if [ "$live" = "$version" ]; then echo "$name-$function: $live stays"; else echo "$name-$function: $live -> $version"; fi
done
