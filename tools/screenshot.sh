#!/bin/sh
# Picture of an HTML file, in headless Chromium without network.
# usage: tools/screenshot.sh PAGE.html PICTURE.png [WIDTH [HEIGHT [light|dark]]]
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi
page=$1 picture=$2 width=${3:-1280} height=${4:-1600} scheme=${5:-light}
case $page in http://*|https://*|file://*) ;; *) page=file://$(realpath "${page%%#*}")$(printf %s "$page" | sed -n 's/[^#]*\(#.*\)/\1/p') ;; esac
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "No Chromium found; on Debian: apt-get install chromium" >&2
    exit 1
}
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
dark=
[ "$scheme" = dark ] && dark="--force-dark-mode --blink-settings=preferredColorScheme=0"
# shellcheck disable=SC2086
"$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --force-prefers-reduced-motion --allow-file-access-from-files --user-data-dir="$profile" \
    --virtual-time-budget=3000 --window-size="$width,$height" --screenshot="$picture" $dark "$page" >/dev/null 2>&1
echo "$picture"
