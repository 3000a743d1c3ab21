# shellcheck shell=bash
# omnijet serve as a service that starts at boot: see service/omnijet.service.

BUNDLE=   # --bundle
ENGINES=  # --engines

_bundle() { if [ -n "$BUNDLE" ]; then realpath "$BUNDLE"; else state_get bundle; fi; }
_engines() { if [ -n "$ENGINES" ]; then printf '%s\n' "$ENGINES"; else state_get engines; fi; }

# Prints the nodes of the GPU and of sound that there are: NVIDIA's list of what containers need, and those by name.
_nodes() {
  {
    sed -n 's/^ *dev *, *\(\/dev\/[^ ]*\) *$/\1/p' \
      "$ROOT"/etc/nvidia-container-runtime/host-files-for-container.d/*.csv 2>/dev/null
    find "$ROOT/dev/" \( -name 'nvhost*' -o -name nvmap -o -name 'nvsciipc' -o -name 'host1x*' -o -name 'nvidia*' \
      -o -path "$ROOT/dev/nvgpu/*" -o -path "$ROOT/dev/dri/*" -o -path "$ROOT/dev/snd/*" \) \
      ! -type d ! -type l 2>/dev/null | sed "s#^$ROOT##"
  } | sort -u | while read -r node; do
    if [ -e "$ROOT$node" ]; then printf '%s\n' "$node"; fi
  done
}
_of_this_machine() {
  echo '# Of this machine, by setup.sh: the bundle, and the nodes of the GPU and of sound.'
  echo '[Service]'
  printf 'BindReadOnlyPaths=%s:%s/bundle\n' "$(_bundle)" "$HOME_OF_ALL"
  _nodes | sed 's/.*/DeviceAllow=& rw/'
}
_settings() {
  echo '# Settings of the server; all of them: omnijet serve --print-config'
  printf 'bundle = "%s/bundle"\nmodel = "omnijet"\n' "$HOME_OF_ALL"
  if [ -n "$(_engines)" ]; then printf 'engines = "%s"\n' "$(_engines)"; fi
}

service_title() { echo "omnijet serve with ${BUNDLE:-a bundle} as a service, at every boot (http://127.0.0.1:8000)"; }
service_fits() {
  local bundle
  WHY='no bundle is named: --bundle FOLDER, and --engines TARGET once they are built'
  bundle=$(_bundle)
  [ -n "$bundle" ] || return 1
  WHY="$bundle is no bundle: it has no manifest.json"
  [ -e "$bundle/manifest.json" ] || return 1
  WHY="systemd wants plain letters in the path $bundle: move the bundle"
  case $bundle$(_engines) in *[!A-Za-z0-9._/@+-]*) return 1 ;; esac
  WHY='the step environment comes first'
  [ -n "$DRY" ] || [ "$(state_of environment)" = complete ]
}
service_is_so() {
  [ "$(state_of service)" = complete ] && [ "$(state_get bundle)" = "$(_bundle)" ] && [ "$(state_get engines)" = "$(_engines)" ]
}
service_before() { printf 'bundle %s\n' "$(_bundle)"; }
service_do() {
  local bundle engines
  bundle=$(_bundle) engines=$(_engines)
  state_set bundle "$bundle"
  if [ -n "$engines" ]; then state_set engines "$engines"; fi
  make_folder "$HOME_OF_ALL/bundle"
  put /etc/omnijet/serve.toml 644 < <(_settings)
  put /etc/systemd/journald@omnijet.conf 644 < "$HERE/service/journald@omnijet.conf"
  put /etc/systemd/system/omnijet.service.d/machine.conf 644 < <(_of_this_machine)
  put /etc/systemd/system/omnijet.service 644 < "$HERE/service/omnijet.service"
  act systemctl daemon-reload
  act systemctl enable --now omnijet.service
  say "    what it says: journalctl --namespace omnijet -u omnijet -f"
}
service_undo() {
  [ -n "$DRY" ] || [ "$(state_of greeting)" = none ] || fail "the step greeting needs it" "undo both: uninstall.sh greeting service"
  if [ -e "$ROOT/etc/systemd/system/omnijet.service" ]; then
    act systemctl disable --now omnijet.service
    # what the service itself kept: records of checks, caches, its journal
    if [ -z "$DRY" ]; then
      look systemctl clean --what=state --what=cache omnijet.service || true
      look journalctl --namespace omnijet --rotate --vacuum-time=1s || true
    fi
  fi
  take_away
  act systemctl daemon-reload
}
