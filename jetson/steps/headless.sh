# shellcheck shell=bash
# A boot without a desktop, which takes of the memory that the model shares.

headless_title() { echo "a boot without the desktop from the next one on (frees memory; \`sudo systemctl start gdm\` shows it again)"; }
headless_fits() { true; }
headless_is_so() { [ "$(look systemctl get-default)" = multi-user.target ]; }
headless_before() { printf 'target %s\n' "$(look systemctl get-default)"; }
headless_do() {
  # also when somebody changed it since an earlier setup: that is what was there before
  headless_is_so || state_set target "$(look systemctl get-default)"
  act systemctl set-default multi-user.target
}
headless_undo() {
  if headless_is_so; then act systemctl set-default "$(state_get target)"
  else say "    the default target stays as it is: somebody changed it"; fi
}
