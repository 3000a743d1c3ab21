# shellcheck shell=bash
# Clocks at their highest (jetson_clocks), at every boot.

CLOCKS=$FOLDER/clocks.conf

clocks_title() { echo "clocks at their highest, now and at every boot (jetson_clocks): steady latencies, more heat"; }
clocks_fits() {
  WHY='this machine has no jetson_clocks'
  tool jetson_clocks >/dev/null
}
clocks_is_so() { [ "$(state_of clocks)" = complete ]; }
clocks_before() { true; }
clocks_do() {
  # once: a second try would keep clocks that are high already
  if [ ! -e "$ROOT$CLOCKS" ]; then
    act jetson_clocks --store "$ROOT$CLOCKS.half"
    [ -n "$DRY" ] || mv "$ROOT$CLOCKS.half" "$ROOT$CLOCKS"
  fi
  put /etc/systemd/system/omnijet-clocks.service 644 < "$HERE/service/omnijet-clocks.service"
  act systemctl daemon-reload
  act systemctl enable --now omnijet-clocks.service
}
clocks_undo() {
  if [ -e "$ROOT/etc/systemd/system/omnijet-clocks.service" ]; then
    act systemctl disable --now omnijet-clocks.service
  fi
  take_away
  act systemctl daemon-reload
  [ -n "$DRY" ] || rm -f "$ROOT$CLOCKS" "$ROOT$CLOCKS.half"
}
