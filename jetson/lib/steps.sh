# shellcheck shell=bash
# The steps in their order. A step is a file in steps/ with these functions:
#   NAME_title    says in one line what it is for
#   NAME_fits     whether it has a place here; else WHY says why not
#   NAME_is_so    whether the machine is so already, by nobody's or somebody else's doing
#   NAME_before   prints what is kept of before, as lines of a key and a value
#   NAME_do       does it; may be repeated after any interruption
#   NAME_undo     undoes it from what was kept; may be repeated, too

STEPS='jetpack packages environment groups power clocks swap headless sound echo linger service greeting'
STEP='' WHY=''

# shellcheck source=jetson/steps/jetpack.sh
. "$HERE/steps/jetpack.sh"
# shellcheck source=jetson/steps/packages.sh
. "$HERE/steps/packages.sh"
# shellcheck source=jetson/steps/environment.sh
. "$HERE/steps/environment.sh"
# shellcheck source=jetson/steps/groups.sh
. "$HERE/steps/groups.sh"
# shellcheck source=jetson/steps/power.sh
. "$HERE/steps/power.sh"
# shellcheck source=jetson/steps/clocks.sh
. "$HERE/steps/clocks.sh"
# shellcheck source=jetson/steps/swap.sh
. "$HERE/steps/swap.sh"
# shellcheck source=jetson/steps/headless.sh
. "$HERE/steps/headless.sh"
# shellcheck source=jetson/steps/sound.sh
. "$HERE/steps/sound.sh"
# shellcheck source=jetson/steps/echo.sh
. "$HERE/steps/echo.sh"
# shellcheck source=jetson/steps/linger.sh
. "$HERE/steps/linger.sh"
# shellcheck source=jetson/steps/service.sh
. "$HERE/steps/service.sh"
# shellcheck source=jetson/steps/greeting.sh
. "$HERE/steps/greeting.sh"

require_steps() {
  local one
  for one in "$@"; do
    has "$STEPS" "$one" || refuse "there is no step $one" "the steps are: $STEPS"
  done
}
