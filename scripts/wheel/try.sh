#!/usr/bin/env bash
# Use an installed wheel as a user does: import, type check, training. Usage: try.sh PYTHON, which has mypy too.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export METALEARN_CACHE="$folder/cache" PYTHONPATH=
"$python" -c 'import metalearn, sys; assert metalearn.__file__.startswith(sys.prefix), metalearn.__file__'

cp "$here/program.py" .
"$python" -m mypy --strict program.py
if "$python" -m mypy --strict -c 'from metalearn import Setting; Setting(way="five", shot=1, query=1)'; then
  echo "try.sh: mypy sees no types in the wheel, since it accepts a wrong one" >&2
  exit 1
fi
"$python" program.py
"$(dirname "$python")/metalearn" debug=default 'dataset.num_alphabets=[2,1,1]' dataset.characters=8 episode.train.way=5
