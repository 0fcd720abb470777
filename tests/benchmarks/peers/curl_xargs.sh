#!/bin/bash
# curl and xargs -P: what a shell does about it. Arguments: api, key, output, jobs, in flight.
set -eu
export api=$1 key=$2 output=$3

one() {
  local head="Authorization: Bearer $key" id answer
  answer=$(curl -sS -f -H "$head" -F "prompt=A paper kite floats above field $1." -F model=veo3-fast -F size=16x9 \
    "$api/videos")
  [[ $answer =~ \"id\":\ \"([^\"]+)\" ]]
  id=${BASH_REMATCH[1]}
  until answer=$(curl -sS -f -H "$head" "$api/videos/$id") && [[ $answer == *'"completed"'* ]]; do sleep 1; done
  [[ $answer =~ \"video_url\":\ \"([^\"]+)\" ]]
  curl -sS -f -o "$output/$1.mp4" "${BASH_REMATCH[1]}"
}
export -f one

seq 0 $(($4 - 1)) | xargs -P "$5" -I '{}' bash -c 'set -eu; one "$1"' one '{}'
