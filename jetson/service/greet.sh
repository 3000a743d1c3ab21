#!/bin/sh
# Has the assistant say a sentence through the loudspeaker. usage: greet.sh [TEXT]
# Variables: OMNIJET_URL; OMNIJET_API_KEY of a server with a key; OMNIJET_VOICE, else its first one; OMNIJET_SPEAKER, a
# device of `aplay -L`, else the default one.
set -eu
url=${OMNIJET_URL:-http://127.0.0.1:8000}
text=${1:-Hello. I am ready.}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

fail() { echo "greet.sh: $*" >&2; exit 1; }
# a backslash and a quote are the only characters of a line that cannot stand in JSON as they are
quoted() { printf '%s' "$1" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g'; }
ask() { curl -fsS --max-time 90 ${OMNIJET_API_KEY:+-H "Authorization: Bearer $OMNIJET_API_KEY"} "$@"; }

ask "$url/v1/models" > "$folder/card" || fail "no server answers at $url: systemctl status omnijet"
model=$(sed -n 's/.*{"id":"\([^"]*\)".*/\1/p' "$folder/card")
voice=${OMNIJET_VOICE:-$(sed -n 's/.*"voices":\["\([^"]*\)".*/\1/p' "$folder/card")}
[ -n "$voice" ] || fail "the model at $url has no voice"

printf '{"model":"%s","voice":"%s","input":"%s","response_format":"wav"}' \
  "$model" "$(quoted "$voice")" "$(quoted "$text")" > "$folder/asked"
ask -H 'Content-Type: application/json' --data-binary "@$folder/asked" -o "$folder/said.wav" "$url/v1/audio/speech" ||
  fail "the server at $url did not speak"
aplay -q ${OMNIJET_SPEAKER:+-D "$OMNIJET_SPEAKER"} "$folder/said.wav"
