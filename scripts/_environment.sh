# Sourced by the other scripts: finds a Python, makes .venv once per requirements file, and defines $PYTHON.
# HOI_JAX_PYTHON chooses the interpreter; HOI_JAX_VENV the folder of the environment.

find_python() {
  for candidate in "${HOI_JAX_PYTHON:-}" python3.12 python3.11 python3 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo "hoi_jax needs Python 3.11 or 3.12 (set HOI_JAX_PYTHON to its path)" >&2
  return 1
}

ensure_environment() { # $1: requirements file
  local venv="${HOI_JAX_VENV:-.venv}" python stamp
  stamp="$venv/.installed-$(basename "$1" .txt)"
  PYTHON="$venv/bin/python"
  if [ -x "$PYTHON" ] && [ -f "$stamp" ] && cat requirements*.txt pyproject.toml | cmp -s - "$stamp"; then
    return 0
  fi
  python=$(find_python)
  echo "== making the environment in $venv with $($python --version) (once; a few minutes without a package cache)"
  [ -x "$PYTHON" ] || "$python" -m venv "$venv"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --progress-bar off -r "$1"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps -e .
  cat requirements*.txt pyproject.toml > "$stamp"
}
