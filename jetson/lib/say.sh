# shellcheck shell=bash
# What is said, what is asked, and what is run.

DRY=      # 1: commands are shown and not run
YES=      # names of steps that may be taken without a question, between blanks
SAID_NO=  # names of steps that were left, between blanks

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Ends with a message, and what can be done about it.
refuse() {
  warn "$1"
  [ $# -lt 2 ] || printf '  %s\n' "${@:2}" >&2
  exit 2
}

# Ends the present step: what was done of it is recorded, so that it can be completed or undone.
fail() {
  warn "$STEP: $1"
  [ $# -lt 2 ] || printf '  %s\n' "${@:2}" >&2
  if [ "$(state_of "$STEP")" != none ]; then
    printf '  to try again: the same command. To undo what was done: uninstall.sh %s\n' "$STEP" >&2
  fi
  exit 1
}

has() { case " $1 " in *" $2 "*) true ;; *) false ;; esac; }

# Asks whether a step may be taken. Without an answer it may not.
ask() {
  has "$YES" "$STEP" && return 0
  if [ -n "$DRY" ]; then return 0; fi
  if [ -t 0 ]; then
    local answer=
    printf '    do this? [y/N] '
    read -r answer || true
    case $answer in [yY] | [yY][eE][sS]) return 0 ;; esac
  else
    say "    not done: there is nobody to ask. To have it done: --yes $STEP"
  fi
  SAID_NO="$SAID_NO $STEP"
  return 1
}

# Runs a tool of the machine, or shows it.
act() {
  local name=$1 found
  shift
  if [ -n "$DRY" ]; then
    say "    would run: $name $*"
    return 0
  fi
  found=$(tool "$name") || fail "there is no $name on this machine"
  "$found" "$@" </dev/null || fail "\`$name $*\` failed (exit code $?)"
}

# Runs a tool that only looks; silent, and false where there is none.
look() {
  local name=$1 found
  shift
  found=$(tool "$name") || return 1
  "$found" "$@" </dev/null 2>/dev/null
}
