# shellcheck shell=bash
# The groups of the GPU (video, render) and of sound (audio) for the person who uses the device.

# Prints a line for each group that exists and that the person is not in.
_groups_missing() {
  local name members
  while IFS=: read -r name _ _ members; do
    has 'video render audio' "$name" || continue
    case ",$members," in *",$PERSON,"*) ;; *) printf 'group %s\n' "$name" ;; esac
  done < "$ROOT/etc/group"
}

groups_title() { echo "groups video, render and audio for ${PERSON:-you}, for the GPU and for sound"; }
groups_fits() {
  WHY='nobody is named: --user NAME'
  [ -n "$PERSON" ] && [ "$PERSON" != root ]
}
groups_is_so() { [ -z "$(_groups_missing)" ]; }
groups_before() { printf 'person %s\n' "$PERSON"; _groups_missing; }
groups_do() {
  local name
  while read -r name; do
    state_note group "$name"
    act usermod -aG "$name" "$PERSON"
  done < <(groups_before | sed -n 's/^group //p')
  say "    holds from the next login"
}
groups_undo() {
  local name person
  person=$(state_get person)
  while read -r name; do
    PERSON=$person
    if ! _groups_missing | grep -qxF "group $name"; then act gpasswd -d "$person" "$name"; fi
  done < <(state_get group)
}
