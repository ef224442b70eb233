
# Names of services, processes, nodes and instances: asked of the program of the stack, which answers
# without cargo. Where it is not built yet, commands and options are completed alone.
function __xtask_names
    set -l directory $PWD
    set -q CORE_ROOT; and set directory $CORE_ROOT
    set -l line (commandline -opc) (commandline -ct)
    while test -n "$directory"
        for program in $directory/.core-stack/xtask $directory/target/debug/xtask
            if test -x $program
                $program complete-names -- $line[2..-1] 2>/dev/null
                return
            end
        end
        set directory (string replace -r '/[^/]*$' '' -- $directory)
    end
end

complete -c xtask -f -a '(__xtask_names)'
complete -c xtask -l instance -x -a '(__xtask_names)'
