#!/bin/sh
# Has the functions of a deployment run the release before: within seconds, and without Terraform. The next `apply`
# brings the newest back, so deploy the release that is good next.
#
#   infrastructure/rollback.sh [name]     with the AWS CLI, and the deployment's name (image-analyzer)
set -eu
name=${1:-image-analyzer}

before() {
  aws lambda list-versions-by-function --function-name "$1" --query 'Versions[].Version' --output text |
    tr '\t' '\n' | grep -v LATEST | sort -n | awk -v live="$2" '$1 < live { found = $1 } END { print found }'
}

# First look at all, so that none goes back where another cannot.
for function in api worker sweeper; do
  live=$(aws lambda get-alias --function-name "$name-$function" --name live --query FunctionVersion --output text)
  version=$(before "$name-$function" "$live")
  if [ -z "$version" ]; then
    echo "$name-$function has no version before $live: this is its first release. Deploy one that is good." >&2
    exit 1
  fi
  eval "live_$function=$live version_$function=$version"
done

# Who writes goes back before who reads: a new job or record is met by no old worker.
for function in api worker sweeper; do
  eval "live=\$live_$function version=\$version_$function"
  aws lambda update-alias --function-name "$name-$function" --name live --function-version "$version" \
    --routing-config AdditionalVersionWeights={} --query FunctionVersion --output text >/dev/null
  echo "$name-$function: $live -> $version"
done
