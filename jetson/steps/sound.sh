# shellcheck shell=bash
# USB sound devices stay awake: one that sleeps swallows the first syllable.

SOUND_RULE=/etc/udev/rules.d/70-omnijet-sound.rules

sound_title() { echo "USB microphones and loudspeakers that do not fall asleep (a udev rule)"; }
sound_fits() { true; }
sound_is_so() { [ "$(state_of sound)" = complete ] && [ -e "$ROOT$SOUND_RULE" ]; }
sound_before() { true; }
sound_do() {
  put $SOUND_RULE 644 < "$HERE/sound/70-omnijet-sound.rules"
  act udevadm control --reload
  say "    holds for devices that are plugged in from now on"
}
sound_undo() {
  take_away
  act udevadm control --reload
}
