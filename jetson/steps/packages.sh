# shellcheck shell=bash
# Packages of Ubuntu. Only those that were absent are taken away again, and only if nothing else goes with them.

PACKAGES='python3-venv libportaudio2 alsa-utils curl'

_is_installed() {
  # shellcheck disable=SC2016  # dpkg-query fills it in
  [ "$(look dpkg-query -W -f '${db:Status-Status}' "$1")" = installed ]
}

# Prints a line for each of the packages that is not installed.
packages_absent() {
  local one
  for one in "$@"; do
    _is_installed "$one" || printf 'package %s\n' "$one"
  done
}

install_packages() {
  local one
  local -a absent
  mapfile -t absent < <("${STEP}_before" | cut -d' ' -f2)
  for one in ${absent[@]+"${absent[@]}"}; do state_note package "$one"; done
  [ -n "$DRY" ] || mapfile -t absent < <(state_get package)
  export DEBIAN_FRONTEND=noninteractive
  act apt-get update -q
  act apt-get install -q -y --no-install-recommends "${absent[@]}"
}

remove_packages() {
  local one others
  local -a ours=()
  while read -r one; do
    if _is_installed "$one"; then ours+=("$one"); fi
  done < <(state_get package)
  [ ${#ours[@]} -gt 0 ] || return 0
  if [ -z "$DRY" ]; then
    others=$(look apt-get -s remove "${ours[@]}" | sed -n 's/^Remv \([^ ]*\).*/\1/p' |
      grep -vxF -f <(printf '%s\n' "${ours[@]}") || true)
    if [ -n "$others" ]; then
      say "    ${ours[*]} stay: $(echo "$others" | xargs) would go with them"
      return 0
    fi
  fi
  export DEBIAN_FRONTEND=noninteractive
  act apt-get remove -q -y "${ours[@]}"
}

packages_title() { echo "packages of Ubuntu: $PACKAGES"; }
packages_fits() { true; }
# shellcheck disable=SC2086
packages_is_so() { [ -z "$(packages_absent $PACKAGES)" ]; }
# shellcheck disable=SC2086
packages_before() { packages_absent $PACKAGES; }
packages_do() { install_packages; }
packages_undo() { remove_packages; }
