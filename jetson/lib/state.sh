# shellcheck shell=bash
# What was changed, and what was there before. One file a step: STEP.begun from before its first change, STEP.complete after
# its last. A line is a key, a blank and a value. The folder is all that uninstall.sh needs.

FOLDER=/var/lib/omnijet-setup

state_of() {
  if [ -e "$ROOT$FOLDER/$1.complete" ]; then echo complete
  elif [ -e "$ROOT$FOLDER/$1.begun" ]; then echo begun
  else echo none; fi
}

_state_file() { printf '%s/%s.%s\n' "$ROOT$FOLDER" "$1" "$(state_of "$1")"; }

# Writes a file whole or not at all; content from stdin.
write_whole() {
  local half
  half="$(dirname "$1")/.omnijet-setup.half"
  cat > "$half" && chmod "$2" "$half" && sync "$half" && mv -f "$half" "$1"
}

# Begins the present step; what stdin says of before is kept unless an earlier try has said it.
state_begin() {
  local before
  before=$(cat)
  [ -z "$DRY" ] || return 0
  mkdir -p "$ROOT$FOLDER"
  case $(state_of "$STEP") in
    none) printf '%s' "${before:+$before
}" | write_whole "$ROOT$FOLDER/$STEP.begun" 644 ;;
    complete) mv "$ROOT$FOLDER/$STEP.complete" "$ROOT$FOLDER/$STEP.begun" ;;
  esac
}

# Prints the values of a key of the present step, one a line.
state_get() {
  local file
  file=$(_state_file "$STEP")
  [ ! -e "$file" ] || sed -n "s/^$1 //p" "$file"
}

# Adds a line to the present step, once.
state_note() {
  local file
  [ -z "$DRY" ] || return 0
  file=$(_state_file "$STEP")
  grep -qxF -- "$1 $2" "$file" || { cat "$file" && printf '%s %s\n' "$1" "$2"; } | write_whole "$file" 644 ||
    fail "$FOLDER cannot be written"
}

# Replaces all lines of a key of the present step.
state_set() {
  local file
  [ -z "$DRY" ] || return 0
  file=$(_state_file "$STEP")
  [ "$(state_get "$1")" != "$2" ] || return 0
  { sed "/^$1 /d" "$file" && printf '%s %s\n' "$1" "$2"; } | write_whole "$file" 644 ||
    fail "$FOLDER cannot be written"
}

state_done() { [ -n "$DRY" ] || mv "$ROOT$FOLDER/$STEP.begun" "$ROOT$FOLDER/$STEP.complete"; }

# Says that the present step is being undone: until it is, it counts as one that was interrupted.
state_undoing() { [ "$(state_of "$STEP")" != complete ] || mv "$ROOT$FOLDER/$STEP.complete" "$ROOT$FOLDER/$STEP.begun"; }

state_drop() {
  rm -f "$ROOT$FOLDER/$STEP.begun" "$ROOT$FOLDER/.omnijet-setup.half"
  rmdir "$ROOT$FOLDER" 2>/dev/null || true
}
