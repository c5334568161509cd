#!/usr/bin/env bash
# Makes everything the workflow needs ready: system packages where that is allowed, and the environment .venv.
#
#   requirements/setup.sh                      usually called by `make setup`
#   PYTHON=/path/to/python3.11 make setup      chooses the interpreter
#
# It may be called at any time: what is done already is not done again, and what was broken off is repaired.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME # modules of clusters set them, and would leak other packages into .venv
PATH=${PATH//"$PWD/.venv/bin:"/} # .venv is what is built here, never what builds it
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

readonly venv=.venv stamps=.venv/.setup log=.venv-setup.log apt_log=.venv-setup-apt.log
readonly wanted_python=3.11

# ---------------------------------------------------------------------------------------------- what the system has

find_python() { # prints the interpreter to use; fails where there is none
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python$wanted_python python3 /usr/bin/python$wanted_python; do
        if [[ $(version_of "$candidate") == "$wanted_python" ]]; then
            "$candidate" -ISc 'import os, sys; print(os.path.realpath(sys.executable))'
            return
        fi
        [[ $candidate != "${PYTHON:-}" ]] || return 1 # asked for by name: no other one will do
    done
    return 1
}

version_of() { "$1" -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

has_python() { find_python >/dev/null; }
has_venv() { ! has_python || "$(find_python)" -Ic 'import ensurepip, venv' 2>/dev/null; }
has_compiler() { command -v "${CXX:-g++}" >/dev/null || command -v c++ >/dev/null; }
has_cdo() { command -v cdo >/dev/null; }
has_mpi() { [[ -z ${HOROVOD_WITHOUT_MPI:-} ]] && command -v mpicxx >/dev/null; }

readonly essential=(python venv compiler) optional=(cdo mpi)

missing() { # of the given needs, those the system lacks
    local need
    for need in "$@"; do
        "has_$need" || echo "$need"
    done
}

packages_of() { # Debian packages that meet the needs
    local need
    for need in "$@"; do
        case $need in
            python | venv) echo python$wanted_python-venv ;;
            compiler) echo g++ ;;
            cdo) echo cdo ;;
            mpi) printf '%s\n' libopenmpi-dev openmpi-bin ;;
        esac
    done
}

explain() { # what a need is for, and how to get it without being the administrator
    case $1 in
        python) cat <<TEXT
  Python $wanted_python (found: ${PYTHON:-python3}, version $(version_of "${PYTHON:-python3}" | grep . || echo none))
      cluster   module load Python/$wanted_python (see: module spider python), then make setup
      conda     conda create -n dl4ds -c conda-forge python=$wanted_python
                make setup PYTHON="\$(conda info --base)/envs/dl4ds/bin/python"
      Debian    apt-get install python$wanted_python-venv
TEXT
            ;;
        venv) cat <<TEXT
  Python's modules venv and ensurepip, which $(find_python || echo Python) lacks
      cluster   module load Python/$wanted_python, then make setup
      conda     conda create -n dl4ds -c conda-forge python=$wanted_python
                make setup PYTHON="\$(conda info --base)/envs/dl4ds/bin/python"
      Debian    apt-get install python$wanted_python-venv
TEXT
            ;;
        compiler) cat <<TEXT
  a C++ compiler (g++ 9 or later, or the variable CXX), which builds Horovod
      cluster   module load GCC (see: module avail gcc)
      conda     conda install -c conda-forge cxx-compiler
      Debian    apt-get install g++
TEXT
            ;;
        cdo) cat <<TEXT
  cdo: regrids; only needed where two data sets lie on different grids (the demo does without)
      cluster   module load CDO (see: module avail cdo), whenever the workflow runs
      conda     conda install -c conda-forge cdo
      Debian    apt-get install cdo
TEXT
            ;;
        mpi) cat <<TEXT
  MPI (mpicxx): only needed to train over several nodes (one machine does with Gloo)
      cluster   module load OpenMPI (the one SLURM's srun knows), then make setup again
      conda     conda install -c conda-forge openmpi cxx-compiler, then make setup again
      Debian    apt-get install libopenmpi-dev openmpi-bin, then make setup again
TEXT
            ;;
    esac
}

# ------------------------------------------------------------------------------------------------- progress and failure

started=0
begin() { started=$SECONDS; printf '%s ... ' "$1"; printf '\n==== %s\n' "$1" >>"$log"; }
end() { echo "${1:-$((SECONDS - started)) s}"; }

show_log() { # of the step under way: its errors, and how it ended
    printf 'failed\n\nErrors in, and the last lines of, %s/%s:\n' "$PWD" "$log"
    {
        tac "$log" | sed '/^==== /q' | tac | grep -iE '(^|[^[:alnum:]])(error|E|fatal):' | cut -c1-200 | head -n 5 || true
        echo ...
        tail -n 10 "$log"
    } | sed 's/^/    /'
} >&2

workers() { # as many as there are cores, but few enough for a login node
    local cores
    cores=$(nproc 2>/dev/null || echo 2)
    echo $((cores < 8 ? cores : 8))
}

fail() { # for a step whose details are in the log
    show_log
    printf '\n%s\n' "$1" >&2
    exit 1
}

# ---------------------------------------------------------------------------------------------------- the four steps

apt=() # how apt-get may be called; empty where it may not

ask_for_apt() { # only where something is missing: clusters report each try of sudo to their administrators
    if ! command -v apt-get >/dev/null; then
        return
    elif [[ $(id -u) == 0 ]]; then
        apt=(env)
    elif sudo -n true 2>/dev/null; then
        apt=(sudo -n env)
    fi
}

apt_get() { # the log to write into comes first: two steps at a time do not share one
    local name into=$1
    shift
    local -a settings=(DEBIAN_FRONTEND=noninteractive)
    for name in http_proxy https_proxy no_proxy; do # sudo drops them
        [[ -z ${!name:-} ]] || settings+=("$name=${!name}")
    done
    "${apt[@]}" "${settings[@]}" apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$into" 2>&1 </dev/null
}

apt_install() {
    local package into=$1
    shift
    ! apt_get "$into" install --yes --no-install-recommends "$@" || return 0
    for package in "$@"; do # one that cannot be had must not keep out the others
        apt_get "$into" install --yes --no-install-recommends "$package" || true
    done
}

background_apt="" # process that installs what is not essential, while pip is at work

system_packages() {
    local need
    local -a needs=() extras=()
    begin "[1/4] System packages"
    # What is made already needs no interpreter or compiler any more: on clusters, modules come and go.
    [[ $(stamp packages) == "$packages_key" ]] || mapfile -t needs < <(missing "${essential[@]}")
    mapfile -t extras < <(missing "${optional[@]}")
    ((${#needs[@]} + ${#extras[@]} == 0)) || ask_for_apt
    if ((${#apt[@]} > 0)); then
        apt_get "$log" update || echo "apt-get update failed: going on with the lists at hand" >>"$log"
    fi
    if ((${#apt[@]} > 0 && ${#needs[@]} > 0)); then
        mapfile -t needs < <(packages_of "${needs[@]}")
        printf '%s ... ' "${needs[*]}"
        apt_install "$log" "${needs[@]}"
        hash -r
        mapfile -t needs < <(missing "${essential[@]}")
    fi
    if ((${#needs[@]} > 0)); then
        ((${#apt[@]} == 0)) || show_log
        end "missing"
        printf '\nThe set-up cannot go on without:\n' >&2
        for need in "${needs[@]}"; do explain "$need" >&2; done
        exit 1
    fi
    if ((${#apt[@]} > 0 && ${#extras[@]} > 0)); then
        mapfile -t extras < <(packages_of "${extras[@]}")
        printf '%s (while the next step runs) ... ' "${extras[*]}"
        : >"$apt_log"
        apt_install "$apt_log" "${extras[@]}" &
        background_apt=$!
    fi
    end
    [[ -n $background_apt ]] || report_lacking
}

finish_system_packages() {
    [[ -n $background_apt ]] || return 0
    wait "$background_apt" || true
    hash -r
    { echo "==== optional system packages"; cat "$apt_log"; } >>"$log"
    rm -f "$apt_log"
    report_lacking
}

report_lacking() {
    local need
    local -a lacking
    mapfile -t lacking < <(missing "${optional[@]}")
    ((${#lacking[@]} > 0)) || return 0
    echo "Not on this machine, and not essential:"
    for need in "${lacking[@]}"; do explain "$need"; done
}

write_stamp() { printf '%s\n' "$2" >"$stamps/$1.new" && mv "$stamps/$1.new" "$stamps/$1"; }
stamp() { cat "$stamps/$1" 2>/dev/null || true; }

pip_install() { # versions and hashes as locked
    "$venv/bin/python" -m pip install --no-input --progress-bar off --no-compile --require-hashes --no-deps "$@" \
        >>"$log" 2>&1
}

python_packages() {
    [[ $(stamp packages) != "$packages_key" ]] || return 0
    begin "[2/4] Python packages"
    # Made anew, not mended: what an interrupted or older set-up left cannot be trusted.
    rm -rf "$stamps"
    rm -rf "$venv"
    "$(find_python)" -m venv "$venv" >>"$log" 2>&1 || fail "The environment $venv could not be made."
    mkdir -p "$stamps"
    pip_install -r requirements/build.txt && pip_install --no-build-isolation -r requirements/lock.txt ||
        fail "The Python packages could not be installed. pip uses your configuration (pip config list) and proxies."
    "$venv/bin/python" -m compileall -qq -j "$(workers)" "$venv/lib" >>"$log" 2>&1 || true # pip takes one core
    write_stamp python "$(find_python)"
    write_stamp packages "$packages_key"
    end
}

horovod() {
    local variant=gloo
    ! has_mpi || variant="gloo and mpi"
    # One that knows MPI already stays, also where the MPI module is not loaded just now.
    if [[ $(stamp horovod) == "$packages_key gloo and mpi" || $(stamp horovod) == "$packages_key $variant" ]]; then
        return
    fi
    begin "[3/4] Horovod, built from source with $variant"
    rm -f "$stamps/horovod"
    bash requirements/horovod.sh "$venv/bin/python" >>"$log" 2>&1 || 
        fail "Horovod could not be built. Where it is MPI that fails: HOROVOD_WITHOUT_MPI=1 make setup"
    write_stamp horovod "$packages_key $variant"
    end
}

project() {
    local key
    key=$(sha256sum pyproject.toml)
    [[ $(stamp project) != "$key" ]] || return 0
    begin "[4/4] dl4ds_core"
    "$venv/bin/python" -m pip install --no-input --no-deps --no-build-isolation --editable . >>"$log" 2>&1 ||
        fail "The package dl4ds_core could not be installed."
    write_stamp project "$key"
    end
}

# ----------------------------------------------------------------------------------------------------- is it needed?

# An environment cannot be moved, so the folder is part of what it was made for.
packages_key=$(cat requirements/{build,lock,horovod}.txt requirements/{setup,horovod}.sh <(pwd -P) | sha256sum)
readonly packages_key

state() { # everything that decides whether there is anything to do
    echo "$packages_key"
    sha256sum pyproject.toml
    echo "lacking: $(missing "${optional[@]}" | xargs)"
}

up_to_date() {
    [[ $(version_of "$venv/bin/python") == "$wanted_python" ]] &&
        [[ -z ${PYTHON:-} || $(find_python || true) == "$(stamp python)" ]] &&
        [[ $(stamp state) == "$(state)" ]]
}

if up_to_date; then
    echo "Set-up: nothing to do."
    exit 0
fi

exec 9>>"$log"
if command -v flock >/dev/null && ! flock -n 9; then
    echo "Another set-up is at work in this folder: waiting for it."
    flock 9
    ! up_to_date || exit 0
fi
: >"$log"
trap 'printf "\nInterrupted. Call it again: what is half done is done anew.\n" >&2; exit 130' INT
echo "Setting up in $PWD (details: $log)"
if [[ -z $(version_of "$venv/bin/python") || (-n ${PYTHON:-} && $(find_python || true) != "$(stamp python)") ]]; then
    rm -rf "$stamps" # its interpreter is gone, or another one is asked for
fi
system_packages
python_packages
finish_system_packages
horovod
project
write_stamp state "$(state)"
echo "Ready after $SECONDS s."
