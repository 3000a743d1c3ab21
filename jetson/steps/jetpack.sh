# shellcheck shell=bash
# TensorRT and CUDA with their bindings for the system's Python: a bare Jetson Linux has none.

_sees_tensorrt() { look python3 -c 'import tensorrt' >/dev/null; }

jetpack_title() { echo "JetPack's TensorRT and CUDA (package nvidia-jetpack, several GB)"; }
jetpack_fits() { true; }
jetpack_is_so() { _sees_tensorrt; }
jetpack_before() { packages_absent nvidia-jetpack; }
jetpack_do() {
  install_packages
  [ -n "$DRY" ] || _sees_tensorrt || fail "Python $PYTHON_VERSION does not see TensorRT" \
    "is the package python3-libnvinfer installed? apt-cache policy python3-libnvinfer"
}
jetpack_undo() { remove_packages; }
