# shellcheck shell=bash
# Files and folders that a step makes, and takes away again unless somebody changed them meanwhile.

_sum() { sha256sum < "$1" | cut -d' ' -f1; }

# Makes a folder and those above it. usage: make_folder PATH
make_folder() {
  [ ! -d "$ROOT$1" ] || return 0
  make_folder "$(dirname "$1")"
  if [ -n "$DRY" ]; then return 0; fi
  state_note folder "$1"
  mkdir "$ROOT$1" || fail "the folder $1 cannot be made"
}

# Writes a file; its content comes from stdin. A file of somebody else ends the step. usage: put PATH MODE
put() {
  local content sum
  content=$(cat && printf .)  # the dot keeps the newlines at the end
  if [ -n "$DRY" ]; then
    say "    would write: $1"
    return 0
  fi
  sum=$(printf '%s' "${content%.}" | sha256sum | cut -d' ' -f1)
  if [ -e "$ROOT$1" ]; then
    local kept
    kept=$(_sum "$ROOT$1")
    if [ "$kept" = "$sum" ] && state_get file | grep -qxF "$sum $1"; then return 0; fi
    if ! state_get file | cut -d' ' -f2- | grep -qxF "$1"; then
      fail "$1 exists already, and is not of this kit" "look at it, and move it away if you do not need it"
    fi
    if ! state_get file | grep -qxF "$kept $1"; then
      say "    $1 stays as you changed it"
      return 0
    fi
  fi
  make_folder "$(dirname "$1")"
  state_note file "$sum $1"
  printf '%s' "${content%.}" | write_whole "$ROOT$1" "$2" || fail "$1 cannot be written"
}

# Makes a link. usage: put_link PATH TARGET
put_link() {
  if [ -n "$DRY" ]; then
    say "    would link: $1 to $2"
    return 0
  fi
  if [ -e "$ROOT$1" ] || [ -L "$ROOT$1" ]; then
    [ "$(readlink "$ROOT$1")" = "$2" ] || fail "$1 exists already, and is not of this kit" \
      "look at it, and move it away if you do not need it"
    return 0
  fi
  make_folder "$(dirname "$1")"
  state_note link "$1 $2"
  ln -s "$2" "$ROOT$1" || fail "the link $1 cannot be made"
}

# Removes a file or a link, or says so.
_remove() { if [ -n "$DRY" ]; then say "    would remove: $1"; else rm -f "$ROOT$1"; fi; }

# Takes away what the present step wrote. What was changed since stays, and is told.
take_away() {
  local path target
  while read -r path; do
    [ -n "$DRY" ] || rm -f "$ROOT$(dirname "$path")/.omnijet-setup.half"
    [ -e "$ROOT$path" ] || continue
    # a file that was written twice has two lines, and either may be its present content
    if state_get file | grep -qxF "$(_sum "$ROOT$path") $path"; then _remove "$path"
    else say "    $path stays: somebody changed it"; fi
  done < <(state_get file | cut -d' ' -f2- | sort -u)
  while read -r path target; do
    if [ "$(readlink "$ROOT$path")" = "$target" ]; then _remove "$path"; fi
  done < <(state_get link)
  [ -z "$DRY" ] || return 0
  while read -r path; do
    rmdir "$ROOT$path" 2>/dev/null || true
  done < <(state_get folder | tac)
}
