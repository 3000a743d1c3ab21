# shellcheck shell=bash
# An echo canceller, so that the microphone does not hear the loudspeaker: PipeWire's on Ubuntu 24.04, PulseAudio's on 22.04.

_echo_file() {
  case $UBUNTU in
    22.04) echo /etc/pulse/default.pa.d/60-omnijet-echo.pa ;;
    24.04) echo /etc/pipewire/pipewire.conf.d/60-omnijet-echo.conf ;;
  esac
}

echo_title() { echo "an echo canceller for microphone and loudspeaker ($(_echo_file)), so that you can interrupt it"; }
echo_fits() {
  WHY="Ubuntu ${UBUNTU:-of an unknown version} is neither 22.04 nor 24.04"
  [ -n "$(_echo_file)" ]
}
echo_is_so() { [ "$(state_of echo)" = complete ] && [ -e "$ROOT$(_echo_file)" ]; }
echo_before() { true; }
echo_do() {
  local file
  file=$(_echo_file)
  put "$file" 644 < "$HERE/sound/${file##*/}"
  case $UBUNTU in
    22.04) say "    holds from the next login; at once: pulseaudio -k" ;;
    *) say "    holds from the next login; at once: systemctl --user restart pipewire" ;;
  esac
}
echo_undo() { take_away; }
