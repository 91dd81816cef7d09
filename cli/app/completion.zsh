#compdef recint
# What recint completes, each with what it is for, and files where it names nothing.
_recint() {
    local -a found
    local line
    for line in "${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then _describe recint found; else _files; fi
}
if [[ $funcstack[1] == _recint ]]; then _recint "$@"; else compdef _recint recint; fi
