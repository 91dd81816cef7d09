# What recint completes, each with what it is for, and files where it names nothing.
function __recint
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] completion words -- $words[2..] 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c recint -f -a '(__recint)'
