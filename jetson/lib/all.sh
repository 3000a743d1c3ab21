# shellcheck shell=bash
# All parts of the kit; HERE is its folder.

# shellcheck source=jetson/lib/say.sh
. "$HERE/lib/say.sh"
# shellcheck source=jetson/lib/machine.sh
. "$HERE/lib/machine.sh"
# shellcheck source=jetson/lib/state.sh
. "$HERE/lib/state.sh"
# shellcheck source=jetson/lib/files.sh
. "$HERE/lib/files.sh"
# shellcheck source=jetson/lib/steps.sh
. "$HERE/lib/steps.sh"
