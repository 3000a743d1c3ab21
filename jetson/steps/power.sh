# shellcheck shell=bash
# The power mode (nvpmodel). It lasts over boots by itself.

POWER_MODE=  # a name of /etc/nvpmodel.conf: --power-mode; else the highest

# Prints the number and the name of each mode.
_power_modes() {
  sed -n 's/^ *< *POWER_MODEL *ID=\([0-9]*\) *NAME=\([^ >]*\).*/\1 \2/p' "$ROOT/etc/nvpmodel.conf" 2>/dev/null |
    sed 's/ MODE_/ /'
}
_power_now() { look nvpmodel -q | sed -n 's/^ *\([0-9][0-9]*\) *$/\1/p' | tail -n 1; }
_power_name() { _power_modes | sed -n "s/^$1 //p"; }
_power_wanted() {
  local name
  for name in ${POWER_MODE:-MAXN_SUPER MAXN}; do
    if _power_modes | grep -q " $name\$"; then
      _power_modes | sed -n "s/ $name\$//p" | head -n 1
      return 0
    fi
  done
}

power_title() {
  local now wanted
  now=$(_power_now) wanted=$(_power_wanted)
  echo "power mode $(_power_name "$wanted") in place of $(_power_name "$now") (nvpmodel): faster, warmer"
}
power_fits() {
  WHY="no power mode ${POWER_MODE:-MAXN} is known here: $(_power_modes | cut -d' ' -f2 | xargs)"
  [ -n "$(_power_wanted)" ] && [ -n "$(_power_now)" ]
}
power_is_so() { [ "$(_power_now)" = "$(_power_wanted)" ]; }
power_before() { printf 'mode %s\nto %s\n' "$(_power_now)" "$(_power_wanted)"; }
power_do() {
  local now to
  now=$(_power_now) to=$(_power_wanted)
  # also when somebody changed it since an earlier setup: that is what was there before
  [ "$now" = "$to" ] || state_set mode "$now"
  state_set to "$to"
  act nvpmodel -m "$to"
  [ -n "$DRY" ] || [ "$(_power_now)" = "$to" ] || say "    holds after a reboot: nvpmodel asks for one"
}
power_undo() {
  local now
  now=$(_power_now)
  # a reboot that was asked for may not have come yet
  if [ "$now" = "$(state_get to)" ] || [ "$now" = "$(state_get mode)" ]; then act nvpmodel -m "$(state_get mode)"
  else say "    the power mode stays $(_power_name "$now"): somebody changed it"; fi
}
