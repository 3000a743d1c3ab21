#!/usr/bin/env bash
# Undoes what setup.sh did on this machine, from its records, last step first. What somebody changed since stays.
# usage: sudo ./uninstall.sh [--dry-run] [--yes] [STEP...]
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=jetson/lib/all.sh
. "$HERE/lib/all.sh"

WANTED='' SURE=''
for word in "$@"; do
  case $word in
    --dry-run) DRY=1 ;;
    --yes) SURE=1 ;;
    -h | --help) sed -n '2,3s/^# //p' "$0" && exit 0 ;;
    -*) refuse "there is no option $word" "usage: $0 [--dry-run] [--yes] [STEP...]" ;;
    *) require_steps "$word" && WANTED="$WANTED $word" ;;
  esac
done
trap 'warn "interrupted: the same command goes on"; exit 130' INT TERM HUP

read_machine
require_root
found=
# shellcheck disable=SC2086
for STEP in $(printf '%s\n' $STEPS | tac); do
  if [ "$(state_of "$STEP")" = none ]; then continue; fi
  if [ -z "$WANTED" ] || has "$WANTED" "$STEP"; then found="$found $STEP"; fi
done
if [ -z "$found" ]; then
  say "there is nothing to undo"
  exit 0
fi
say "to undo:$found"
if [ -z "$DRY$SURE" ]; then
  [ -t 0 ] || refuse "there is nobody to ask" "to have it done: $0 --yes$WANTED"
  printf 'undo all of these? [y/N] '
  read -r answer || true
  case ${answer:-} in [yY] | [yY][eE][sS]) ;; *) say "nothing was changed" && exit 0 ;; esac
fi
for STEP in $found; do
  say "$STEP:"
  if [ -n "$DRY" ]; then
    "${STEP}_undo"
    continue
  fi
  state_undoing
  "${STEP}_undo"
  state_drop
  say "    undone"
done
