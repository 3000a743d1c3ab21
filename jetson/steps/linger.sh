# shellcheck shell=bash
# Sound without a login: PipeWire and PulseAudio are services of a person, and end with the last login.

_lingers() { [ -e "$ROOT/var/lib/systemd/linger/$1" ]; }

linger_title() { echo "sound for ${PERSON:-you} from the boot on, without a login (loginctl enable-linger)"; }
linger_fits() {
  WHY='nobody is named: --user NAME'
  [ -n "$PERSON" ] && [ "$PERSON" != root ]
}
linger_is_so() { _lingers "$PERSON"; }
linger_before() { printf 'person %s\n' "$PERSON"; }
linger_do() { act loginctl enable-linger "$PERSON"; }
linger_undo() {
  local person
  person=$(state_get person)
  if _lingers "$person"; then act loginctl disable-linger "$person"; fi
}
