# shellcheck shell=bash
# A first word after a boot, when the assistant is ready. Off unless it is asked for: --with greeting.

greeting_title() { echo "a spoken sentence when the assistant is ready after a boot"; }
greeting_fits() {
  WHY='the step service comes first'
  [ -n "$DRY" ] || [ "$(state_of service)" = complete ]
}
greeting_is_so() { [ "$(state_of greeting)" = complete ]; }
greeting_before() { true; }
greeting_do() {
  put "$HOME_OF_ALL/greet.sh" 755 < "$HERE/service/greet.sh"
  put /etc/systemd/system/omnijet-greeting.service 644 < "$HERE/service/omnijet-greeting.service"
  act systemctl daemon-reload
  act systemctl enable omnijet-greeting.service
}
greeting_undo() {
  if [ -e "$ROOT/etc/systemd/system/omnijet-greeting.service" ]; then act systemctl disable omnijet-greeting.service; fi
  take_away
  act systemctl daemon-reload
}
