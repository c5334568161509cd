#!/usr/bin/env bash
# Installs what the tests on a throw-away SLURM cluster need: SLURM with accounting, munge and MariaDB, from Debian.
# None of its services is started; the tests start daemons of their own, on loopback, and end them.
set -euo pipefail

readonly packages=(slurm-wlm slurmdbd munge mariadb-server)
readonly log=.venv-setup-slurm.log

missing() {
    local program
    for program in slurmctld slurmd slurmdbd munged mariadbd sacct srun; do
        PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || echo "$program"
    done
}

[[ -n $(missing) ]] || exit 0
printf 'Installing %s ... ' "${packages[*]}"
if ! command -v apt-get >/dev/null; then
    apt=(false)
elif [[ $(id -u) == 0 ]]; then
    apt=(env)
else
    apt=(sudo -n env)
fi
install() {
    "${apt[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update &&
        "${apt[@]}" DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=300 install --yes \
            --no-install-recommends "${packages[@]}"
}
if ! install >"$log" 2>&1 </dev/null || [[ -n $(missing) ]]; then
    printf 'failed\n'
    tail -n 5 "$log" >&2
    printf 'The tests need a SLURM cluster of their own. Not found: %s. On Debian: apt-get install %s\n' \
        "$(missing | xargs)" "${packages[*]}" >&2
    exit 1
fi
echo "done"
rm -f "$log"
