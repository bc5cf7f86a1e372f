# shellcheck shell=bash
# Sourced by the other scripts: messages with the time since the first of them began, root's work, PATH.

: "${GRAPEVINE_BEGAN:=$(date +%s)}"
export GRAPEVINE_BEGAN

# Where cargo installs tools; a distribution's Rust doesn't put it into PATH.
case ":$PATH:" in
    *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
    *) export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" ;;
esac

# Bold for people at a terminal, unless they don't want it (https://no-color.org).
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; else BOLD='' PLAIN=''; fi
# Empties a terminal's line, for there may be progress in it (progress.sh).
if [ -t 1 ]; then CLEAR=$'\r\e[K'; else CLEAR=''; fi
stamp() { printf '%s[%3ds]%s %s\n' "$BOLD" "$(($(date +%s) - GRAPEVINE_BEGAN))" "$PLAIN" "$*"; }
say() { printf '%s' "$CLEAR"; stamp "$@"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else
        die "'$*' needs root, and there is no sudo. Run it as root, then start again."
    fi
}

# Which Debian packages these scripts have installed for this user, one a line, so that it can be undone.
APT_INSTALLED=${XDG_STATE_HOME:-$HOME/.local/state}/grapevine/packages

# Installs those of the named Debian packages that are missing.
apt_install() {
    local name needed=()
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || needed+=("$name")
    done
    [ ${#needed[@]} -gt 0 ] || return 0
    say "installing ${needed[*]}"
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${needed[@]}" >/dev/null ||
        die "apt-get could not install ${needed[*]}"
    mkdir -p "${APT_INSTALLED%/*}"
    printf '%s\n' "${needed[@]}" >>"$APT_INSTALLED"
}
