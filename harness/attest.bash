# Bash completion for attest. What may follow is the program's to say (`attest complete`).
_attest() {
    # The words as they were typed: bash cuts them at '=' and ':' as well.
    local line=${COMP_LINE:0:COMP_POINT} words candidate texts=() files='' typed
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=('')
    typed=${words[-1]}
    local last=${typed##*[=:]} # what bash replaces
    [[ $COMP_WORDBREAKS == *=* ]] || last=$typed
    while IFS=$'\t' read -r candidate _; do
        case $candidate in
        :files) files=-f ;;
        :folders) files=-d ;;
        *) texts+=("${candidate#"${typed%"$last"}"}") ;;
        esac
    done < <(IFS=$'\n' "${words[0]/#\~/$HOME}" complete "${words[@]:1}" 2>/dev/null)
    COMPREPLY=("${texts[@]}")
    if [ ${#texts[@]} -gt 0 ]; then
        compopt -o nospace 2>/dev/null # one ends with a space where nothing follows
    elif [ -n "$files" ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen $files -- "$last")
    fi
}
complete -F _attest attest
