#!/usr/bin/env bash
# Installs Chromium from Debian, in which the tests open the report. Where that can't be done, those tests skip.
set -euo pipefail

readonly log=.venv-setup-browser.log

! command -v chromium >/dev/null || exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    exit 0
fi
printf 'Installing chromium ... '
if DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 </dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends \
        chromium >>"$log" 2>&1 </dev/null; then
    echo "done"
    rm -f "$log"
else
    echo "failed, see $log; the tests that need it are skipped"
fi
