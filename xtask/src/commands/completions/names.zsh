
# Names of services, processes, nodes and instances: asked of the program of the stack, which answers
# without cargo. Where it is not built yet, commands and options are completed alone.
_xtask_program() {
    local program directory="${CORE_ROOT:-$PWD}"
    while [ -n "$directory" ]; do
        for program in "$directory/.core-stack/xtask" "$directory/target/debug/xtask"; do
            if [ -x "$program" ]; then
                print -r -- "$program"
                return
            fi
        done
        directory="${directory%/*}"
    done
    return 1
}

_xtask_names() {
    local program
    local -a line names
    line=("${(@)words[2,CURRENT]}")
    if program="$(_xtask_program)"; then
        names=(${(f)"$("$program" complete-names -- "${(@)line}" 2>/dev/null)"})
    fi
    if (( $#names )); then
        compadd -a names
    fi
    # Where a name can stand, what clap offers is every file and every program; but the first word
    # may be a command, and any may be an option.
    if (( ! $#names || CURRENT == 2 )) || [[ "$words[CURRENT]" == -* ]]; then
        _xtask "$@"
    fi
}

compdef _xtask_names xtask
