# shellcheck shell=bash
# Sourced after say.sh: how far builds are, all the time. At a terminal that is one line, written again and again; elsewhere
# a line every 10 s. The counts are cargo's own, those of its progress bar: of crates, build scripts, and runs of these.

# Writes how far each stage is that runs now, until its input ends.
paint() {
    local painted=$SECONDS stage line
    while read -r -t 0.5 || [ $? -gt 128 ]; do # nothing ever comes: reading takes half a second
        line=
        for stage in "$GRAPEVINE_STAGES"/*; do
            [ -s "$stage" ] && line+="${line:+; }${stage##*/}: $(cat "$stage" 2>/dev/null || true)"
        done
        [ -n "$line" ] || continue
        if [ -t 1 ]; then
            line=$(stamp "$line")
            printf '%s%s' "$CLEAR" "${line:0:$(($(tput cols 2>/dev/null || echo 80) - 1))}"
        elif [ $((SECONDS - painted)) -ge 10 ]; then
            stamp "$line"
            painted=$SECONDS
        fi
    done
    rm -rf "$GRAPEVINE_STAGES"
}

# What runs now: a file for each stage, with how far it is. The scripts that a script runs share it. What paints ends with
# the script: then nobody has the other end of its input any longer.
if [ -z "${GRAPEVINE_STAGES:-}" ]; then
    GRAPEVINE_STAGES=$(mktemp -d)
    export GRAPEVINE_STAGES
    exec {painter}> >(paint)
fi

# Of what cargo says, makes the progress that of the stage $1, and shows what isn't progress: warnings and errors.
note() {
    local text line
    # Each progress bar ends with a carriage return.
    while IFS= read -r -d $'\r' text || [ -n "$text" ]; do
        [ -n "$text" ] || continue
        while IFS= read -r line; do
            case $line in
                *" Building ["*) note_count "$1" "${line##*] }" ;;
                *" Downloading "*) echo "downloading ${line##* Downloading }" >"$GRAPEVINE_STAGES/$1" ;;
                *) [[ $line =~ ^\ *(Adding|Blocking|Compiling|Downloaded|Finished|Locking|Updating)\  ]] ||
                    printf '%s%s\n' "$CLEAR" "$line" ;;
            esac
        done <<<"${text%$'\n'}"
    done
}

# "12/40: serde, syn(build.rs)", with blanks behind it, as "12 of 40 (serde)".
note_count() {
    local counts first=
    read -r counts first _ <<<"${2/:/ }"
    echo "${counts/\// of }${first:+ (${first%,})}" >"$GRAPEVINE_STAGES/$1"
}

# Runs a build by cargo, $2 and what follows, as the stage $1.
counted() {
    local stage=$1 failed=0
    shift
    CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=100 "$@" 2>&1 | note "$stage" || failed=$?
    rm -f "$GRAPEVINE_STAGES/$stage"
    printf '%s' "$CLEAR"
    return $failed
}
