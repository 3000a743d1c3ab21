# shellcheck shell=bash
# A swap file on an NVMe disk in place of zram: compressed memory is memory all the same, and the GPU's never goes there.

SWAP_FILE=  # --swap-file; else on the root if that is an NVMe disk, else on the first NVMe disk that is mounted
SWAP_GB=    # --swap-gb; else as much as there is memory, 8 to 32

_on_nvme() { look findmnt -n -o SOURCE --target "$ROOT$1" | grep -q '^/dev/nvme'; }
_swap_file() {
  local folder
  if [ -n "$(state_get path)" ]; then state_get path
  elif [ -n "$SWAP_FILE" ]; then printf '%s\n' "$SWAP_FILE"
  elif _on_nvme /; then echo /omnijet.swap
  else
    folder=$(sed -n 's#^/dev/nvme[^ ]* \([^ ]*\) .*#\1#p' "$ROOT/proc/mounts" 2>/dev/null | grep -v '^/boot' | head -n 1)
    [ -z "$folder" ] || printf '%s/omnijet.swap\n' "$folder"
  fi
}
_swap_gb() {
  local gb
  gb=$(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' "$ROOT/proc/meminfo") / 1000000 + 1))
  [ $gb -ge 8 ] || gb=8
  [ $gb -le 32 ] || gb=32
  printf '%s\n' "${SWAP_GB:-$gb}"
}
_swap_line() { printf '%s none swap sw 0 0 # omnijet setup\n' "$(_swap_file)"; }
_swap_is_on() { grep -qF "$(_swap_file) " "$ROOT/proc/swaps"; }

swap_title() { echo "$(_swap_gb) GB of swap in $(_swap_file) (NVMe), in place of zram"; }
swap_fits() {
  local file free
  file=$(_swap_file)
  WHY='there is no NVMe disk: cards and USB sticks wear out. --swap-file PATH chooses a place all the same'
  [ -n "$file" ] || return 1
  [ "$(state_of swap)" = none ] || return 0
  WHY="$file is there already, and not of this kit"
  [ ! -e "$ROOT$file" ] || return 1
  free=$(look df -P -k "$ROOT$(dirname "$file")" | awk 'NR == 2 { print int($4 / 1000000) }')
  WHY="$file: ${free:-0} GB are free there, and $(_swap_gb) are wanted with 2 to spare: --swap-gb N"
  [ "${free:-0}" -ge $(($(_swap_gb) + 2)) ]
}
swap_is_so() { [ "$(state_of swap)" = complete ] && _swap_is_on; }
swap_before() {
  printf 'path %s\n' "$(_swap_file)"
  [ "$(look systemctl is-enabled nvzramconfig.service)" != enabled ] || echo 'zram enabled'
}
swap_do() {
  local file
  file=$(_swap_file)
  if [ -n "$DRY" ] || ! _swap_is_on; then
    act fallocate -l "$(_swap_gb)G" "$ROOT$file"
    [ -n "$DRY" ] || chmod 600 "$ROOT$file"
    act mkswap "$ROOT$file"
    act swapon "$ROOT$file"
  fi
  if [ -n "$DRY" ]; then say "    would add to /etc/fstab: $(_swap_line)"
  elif ! grep -qxF "$(_swap_line)" "$ROOT/etc/fstab"; then
    { cat "$ROOT/etc/fstab" && _swap_line; } | write_whole "$ROOT/etc/fstab" 644
  fi
  if { [ -n "$DRY" ] && swap_before | grep -q '^zram'; } || [ -n "$(state_get zram)" ]; then
    act systemctl disable --now nvzramconfig.service
  fi
}
swap_undo() {
  local file
  file=$(state_get path)
  # first what was there before: memory must not be without swap
  if [ -n "$(state_get zram)" ]; then act systemctl enable --now nvzramconfig.service; fi
  if _swap_is_on; then act swapoff "$ROOT$file"; fi
  if [ -n "$DRY" ]; then say "    would remove: $file, and its line in /etc/fstab"
  else
    rm -f "$ROOT/etc/.omnijet-setup.half"
    if grep -qxF "$(_swap_line)" "$ROOT/etc/fstab"; then
      { grep -vxF "$(_swap_line)" "$ROOT/etc/fstab" || true; } | write_whole "$ROOT/etc/fstab" 644
    fi
    rm -f "$ROOT$file"
  fi
}
