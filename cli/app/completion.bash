# What recint completes, and files where it names nothing.
_recint() {
    local words=() word line
    # Bash cuts words at "=": --flag=value comes as three of them, of which the value is the last one.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do [ "$word" = = ] || words+=("$word"); done
    [ "${COMP_WORDS[COMP_CWORD]}" = = ] && words+=("")
    COMPREPLY=()
    while IFS=$'\t' read -r line _; do COMPREPLY+=("$line"); done < <("${COMP_WORDS[0]}" completion words -- "${words[@]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _recint recint
