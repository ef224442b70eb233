
# Names of services, processes, nodes and instances: asked of the program of the stack, which answers
# without cargo. Where it is not built yet, commands and options are completed alone.
_xtask_program() {
    local program directory="${CORE_ROOT:-$PWD}"
    while [ -n "$directory" ]; do
        for program in "$directory/.core-stack/xtask" "$directory/target/debug/xtask"; do
            if [ -x "$program" ]; then
                printf '%s\n' "$program"
                return
            fi
        done
        directory="${directory%/*}"
    done
    return 1
}

_xtask_names() {
    _xtask "$@"
    local program names
    program="$(_xtask_program)" || return 0
    names="$("$program" complete-names -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
    COMPREPLY+=($(compgen -W "$names" -- "${COMP_WORDS[COMP_CWORD]#=}"))
}

complete -F _xtask_names -o bashdefault -o default xtask
