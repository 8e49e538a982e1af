#!/usr/bin/env bash
# Install the module of this checkout for a site, in its Lua and its Tcl form:
#
#   module load gcc/12 openmpi/5.0 && launch/setup.sh
#   launch/install_module.sh PREFIX [MODULE...]
#
# PREFIX is a folder of the site's MODULEPATH. MODULE are those that users must load first; when
# none is given, those that are loaded now.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${HVD_NOWCAST_VENV:-$root/.venv}

if [ "$#" -lt 1 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
prefix=$1
shift
if [ "$#" -gt 0 ]; then
    prerequisites=("$@")
else
    IFS=: read -ra prerequisites <<<"${LOADEDMODULES:-}"
fi

# Put three values into a module file: fill "ROOT" "VENV" "PREREQUISITES" FILE
fill() {
    sed -E -e "s|^(local root =\|set root) .*|\1 $1|" -e "s|^(local venv =\|set venv) .*|\1 $2|" \
        -e "s|^(local prerequisites =\|set prerequisites) .*|\1 $3|" "$4"
}

mkdir -p "$prefix/hvd_nowcast"
for module in "$root"/modules/hvd_nowcast/*; do
    installed=$prefix/hvd_nowcast/$(basename "$module")
    case $module in
        *.lua)
            quoted=$(printf '"%s", ' "${prerequisites[@]}")
            [ "${#prerequisites[@]}" -gt 0 ] || quoted=
            fill "\"$root\"" "\"$venv\"" "{$quoted}" "$module" >"$installed.part"
            ;;
        *) fill "{$root}" "{$venv}" "{${prerequisites[*]}}" "$module" >"$installed.part" ;;
    esac
    mv "$installed.part" "$installed"
    printf '%s\n' "$installed"
done
