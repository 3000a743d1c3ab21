# shellcheck shell=bash
# The machine: a Jetson, its JetPack, its Python, its user.

# Another folder with etc, proc, dev, usr/bin and so on, for rehearsals. Its own tools are used, never this machine's.
ROOT=${OMNIJET_MACHINE_ROOT:-}
ROOT=${ROOT%/}
L4T='' JETPACK='' MODEL='' UBUNTU='' PYTHON_VERSION=''
PERSON=${SUDO_USER:-}

# Prints the path of a tool of the machine, wherever PATH leads.
tool() {
  local folder
  for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    if [ -x "$ROOT$folder/$1" ]; then
      printf '%s\n' "$ROOT$folder/$1"
      return 0
    fi
  done
  return 1
}

read_machine() {
  local release="$ROOT/etc/nv_tegra_release" line of_apt
  MODEL=$(tr -d '\0' 2>/dev/null < "$ROOT/proc/device-tree/model" || true)
  if [ -r "$release" ]; then
    line=$(head -n 1 "$release")
    L4T=$(printf '%s\n' "$line" | sed -n 's/.*R\([0-9]*\) *(release), *REVISION: *\([0-9.]*\).*/\1.\2/p')
  fi
  JETPACK=$(jetpack_of "$L4T")
  of_apt=$(jetpack_of_apt)
  if [ -n "$of_apt" ] && [ -n "$JETPACK" ] && [ "$of_apt" != "$JETPACK" ]; then
    warn "Jetson Linux $L4T belongs to JetPack $JETPACK, and the package nvidia-jetpack is of $of_apt"
  fi
  [ -n "$JETPACK" ] || [ -z "$L4T" ] || JETPACK=$of_apt
  UBUNTU=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9.]*\)"\{0,1\}$/\1/p' "$ROOT/etc/os-release" 2>/dev/null || true)
  PYTHON_VERSION=$(look python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' || true)
}

# The versions that this kit knows (omnijet/runtime/machine/jetpack.py has the whole table).
jetpack_of() {
  case $1 in
    36.4.3 | 36.4.4 | 36.4.7 | 36.5 | 36.5.*) echo 6.2 ;;
    36.4 | 36.4.*) echo 6.1 ;;
    36.2 | 36.2.* | 36.3 | 36.3.*) echo 6.0 ;;
    38.2 | 38.2.*) echo 7.0 ;;
    38.4 | 38.4.*) echo 7.1 ;;
    39.2 | 39.2.*) echo 7.2 ;;
  esac
}

# Prints the version of the package nvidia-jetpack, as it is installed or offered: "6.2.1+b38" is 6.2.
jetpack_of_apt() {
  local version
  # shellcheck disable=SC2016  # dpkg-query fills it in
  version=$(look dpkg-query -W -f '${Version}' nvidia-jetpack || true)
  [ -n "$version" ] || version=$(look apt-cache policy nvidia-jetpack | sed -n 's/^ *Candidate: *//p' || true)
  printf '%s\n' "$version" | sed -n 's/^\([0-9]*\.[0-9]*\).*/\1/p'
}

# Ends where this kit has no place, and says what has.
require_jetson() {
  local arch
  arch=$(cat "$ROOT/proc/sys/kernel/arch" 2>/dev/null || uname -m)
  if [ -z "$L4T" ] && [ "${MODEL#*Jetson}" = "$MODEL" ]; then
    refuse "this is no Jetson: there is no /etc/nv_tegra_release (${MODEL:-$arch})" \
      "for a workstation or a plain computer see docs/workstation.md: pip install \"omnijet[serve,chat]\""
  fi
  if [ -e "$ROOT/.dockerenv" ] || [ -e "$ROOT/run/.containerenv" ]; then
    refuse "this is a container, and power, swap and services belong to the device" \
      "run it on the device itself; docs/jetson.md says how a container is made"
  fi
  [ -n "$L4T" ] || refuse "this Jetson says no version of its system (/etc/nv_tegra_release is missing)" \
    "install JetPack 6.2 or 7.2"
  case $JETPACK in
    6.2 | 7.2) ;;
    '') refuse "Jetson Linux $L4T is of no JetPack that this kit knows" "it is written for JetPack 6.2 and 7.2" ;;
    6.*) refuse "this is JetPack $JETPACK (Jetson Linux $L4T), and this kit is written for 6.2 and 7.2" \
      "update: sudo apt update, then sudo apt dist-upgrade" ;;
    *) refuse "this is JetPack $JETPACK (Jetson Linux $L4T), and this kit is written for 6.2 and 7.2" \
      "install one of them with NVIDIA's SDK Manager" ;;
  esac
  [ "$arch" = aarch64 ] || refuse "this is $arch, and JetPack is for aarch64"
}

require_root() {
  [ -n "$ROOT" ] || [ -n "$DRY" ] || [ "$(id -u)" = 0 ] ||
    refuse "changes of the system need root" "type: sudo $0 ..., or see what would be done: $0 --dry-run"
}

# The target that engines are built for, of a device and its JetPack: `jp62`, `jp72`.
toolkit() { printf 'jp%s\n' "${JETPACK/./}"; }
