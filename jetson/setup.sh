#!/usr/bin/env bash
# Sets up a Jetson with JetPack 6.2 or 7.2 for omnijet, one step at a time. Asks before each change, records what was
# there before, and can be repeated after any interruption. uninstall.sh undoes what it did and nothing else.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=jetson/lib/all.sh
. "$HERE/lib/all.sh"

usage() {
  cat <<'U'
usage: sudo ./setup.sh [OPTION]...

Asks before each step. Steps: jetpack packages environment groups power clocks swap headless sound echo linger
service, and greeting if it is named.

  --dry-run            show the steps and their commands, change nothing; needs no root
  --list               show which steps are done
  --yes STEP...        take these steps without a question, for scripts; others are not taken without a terminal
  --only STEP...       look at these steps alone
  --with STEP...       offer these, too: greeting
  --omnijet WHAT       what pip installs: a version (omnijet==0.1.0), a wheel, a folder
  --user NAME          the person who uses the device; else who typed sudo
  --power-mode NAME    of /etc/nvpmodel.conf; else MAXN_SUPER or MAXN
  --swap-file PATH     --swap-gb N
  --bundle FOLDER      --engines TARGET    what the service answers with
U
}

OPTIONAL='greeting'  # done only if it is named
ONLY='' WITH='' LIST=''
while [ $# -gt 0 ]; do
  option=$1
  shift
  case $option in
    --yes | --only | --with)
      [ $# -gt 0 ] || refuse "$option wants the name of a step" "the steps are: $STEPS"
      while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do
        require_steps "$1"
        case $option in
          --yes) YES="$YES $1" ;;
          --only) ONLY="$ONLY $1" ;;
          --with) WITH="$WITH $1" ;;
        esac
        shift
      done
      continue
      ;;
    --dry-run) DRY=1 && continue ;;
    --list) LIST=1 && continue ;;
    -h | --help) usage && exit 0 ;;
    --omnijet | --user | --power-mode | --swap-file | --swap-gb | --bundle | --engines) ;;
    *) refuse "there is no option $option" "see $0 --help" ;;
  esac
  [ $# -gt 0 ] || refuse "$option wants a value"
  case $option in
    --omnijet) SOURCE=$1 ;;
    --user) PERSON=$1 ;;
    --power-mode) POWER_MODE=$1 ;;
    --swap-file) SWAP_FILE=$1 ;;
    --swap-gb) SWAP_GB=$1 ;;
    --bundle) BUNDLE=$1 ;;
    --engines) ENGINES=$1 ;;
  esac
  shift
done
case $SWAP_GB in *[!0-9]*) refuse "--swap-gb wants a whole number, not $SWAP_GB" ;; esac
case $PERSON in *[!A-Za-z0-9._-]*) refuse "--user wants a name, not $PERSON" ;; esac
[ -z "$SWAP_FILE" ] || [ "${SWAP_FILE#/}" != "$SWAP_FILE" ] || refuse "--swap-file wants a path from /, not $SWAP_FILE"

interrupted() {
  warn "interrupted${STEP:+ in the step $STEP}"
  printf '  to complete it: the same command. To undo what was done: %s/uninstall.sh\n' "$HERE" >&2
  exit 130
}
trap interrupted INT TERM HUP

read_machine
require_jetson
if [ -z "$LIST" ]; then require_root; fi

say "$MODEL, JetPack $JETPACK (Jetson Linux $L4T), Ubuntu ${UBUNTU:-?}, Python ${PYTHON_VERSION:-?}"
[ -z "$ROOT" ] || say "a rehearsal in $ROOT: this machine is not touched"

for STEP in $STEPS; do
  WHY=
  if [ -n "$ONLY" ] && ! has "$ONLY" "$STEP"; then continue; fi
  if has "$OPTIONAL" "$STEP" && ! has "$ONLY $WITH $YES" "$STEP" && [ "$(state_of "$STEP")" = none ]; then continue; fi
  say
  if ! "${STEP}_fits"; then
    say "$STEP: left out: $WHY"
    continue
  fi
  if [ "$(state_of "$STEP")" != begun ] && "${STEP}_is_so"; then
    say "$STEP: nothing to do"
    continue
  fi
  say "$STEP: $("${STEP}_title")"
  if [ "$(state_of "$STEP")" = begun ]; then say "    an earlier try was interrupted here"; fi
  if [ -n "$LIST" ]; then continue; fi
  ask || continue
  "${STEP}_before" | state_begin || fail "$FOLDER cannot be written"
  "${STEP}_do"
  state_done
  [ -n "$DRY" ] || say "    done"
done

STEP=
[ -z "$LIST$DRY" ] || exit 0
say
[ -z "$SAID_NO" ] || say "left as they are:$SAID_NO"
say "what was changed is recorded in $FOLDER; to undo it: sudo $HERE/uninstall.sh"
