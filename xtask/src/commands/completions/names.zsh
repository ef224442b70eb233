
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
    _xtask "$@"
    program="$(_xtask_program)" || return 0
    names=(${(f)"$("$program" complete-names -- "${(@)line}" 2>/dev/null)"})
    if (( $#names )); then
        compadd -a names
    fi
}

compdef _xtask_names xtask
