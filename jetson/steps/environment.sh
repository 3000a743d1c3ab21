# shellcheck shell=bash
# A virtual environment that sees the system's TensorRT, with omnijet in it. No other Python than the system's can load
# the TensorRT of a JetPack 6.

HOME_OF_ALL=/opt/omnijet
VENV=$HOME_OF_ALL/venv
EXTRAS=gpu,quantize,serve,chat
SOURCE=omnijet  # a name for pip, a wheel, or a folder: --omnijet

_environment_source() {
  case $SOURCE in
    */* | *.whl) realpath -m "$SOURCE" ;;
    *) printf '%s\n' "$SOURCE" ;;  # a name, also where a folder is called so
  esac
}

# What pip is asked for, one a line.
_requirements() {
  local source
  source=$(_environment_source)
  case $source in
    omnijet[=\<\>~]*) printf 'omnijet[%s]%s\n' "$EXTRAS" "${source#omnijet}" ;;
    *) printf '%s[%s]\n' "$source" "$EXTRAS" ;;
  esac
  # CUDA 12.6 is what JetPack 6 has
  [ "${JETPACK%%.*}" != 6 ] || echo 'cuda-python<13'
}

environment_title() { echo "omnijet from $(_environment_source) in $VENV (Python $PYTHON_VERSION, sees TensorRT)"; }
environment_fits() {
  local source
  source=$(_environment_source)
  WHY="there is no $source"
  case $source in /*) [ -e "$source" ] || return 1 ;; esac
  WHY="$VENV is there already, and not of this kit: move it away, or use it as it is"
  [ "$(state_of environment)" != none ] || [ ! -e "$ROOT$VENV" ]
}
environment_is_so() {
  [ "$(state_of environment)" = complete ] && [ "$(state_get source)" = "$(_environment_source)" ] &&
    [ -x "$ROOT$VENV/bin/omnijet" ]
}
environment_before() { printf 'source %s\n' "$(_environment_source)"; }
environment_do() {
  local -a wanted clear=()
  mapfile -t wanted < <(_requirements)
  make_folder "$HOME_OF_ALL"
  state_set source "$(_environment_source)"
  # half an environment is no ground to build on
  if [ ! -x "$ROOT$VENV/bin/omnijet" ] && [ -e "$ROOT$VENV" ]; then clear=(--clear); fi
  if [ ! -x "$ROOT$VENV/bin/omnijet" ]; then
    act python3 -m venv --system-site-packages ${clear[@]+"${clear[@]}"} "$ROOT$VENV"
  fi
  if [ -n "$DRY" ]; then say "    would run: $VENV/bin/python -m pip install --upgrade ${wanted[*]}"
  else
    "$ROOT$VENV/bin/python" -m pip install --upgrade --disable-pip-version-check "${wanted[@]}" </dev/null ||
      fail "pip could not install ${wanted[*]}" "is there a network? Another source: --omnijet WHEEL"
    "$ROOT$VENV/bin/python" -c 'import tensorrt' 2>/dev/null ||
      say "    this environment does not see TensorRT: sudo apt install nvidia-jetpack"
  fi
  put_link /usr/local/bin/omnijet $VENV/bin/omnijet
}
environment_undo() {
  [ -n "$DRY" ] || [ "$(state_of service)" = none ] ||
    fail "the step service needs it" "undo both: uninstall.sh service environment"
  take_away_environment
  take_away
}
take_away_environment() {
  if [ -n "$DRY" ]; then say "    would remove: $VENV"; else rm -rf "$ROOT$VENV"; fi
}
