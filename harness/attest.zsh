#compdef attest
# Zsh completion for attest. What may follow is the program's to say (`attest complete`).
local -a asked ends goes_on ends_told goes_on_told
local line text told files
asked=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
for line in "${(@f)$(_call_program candidates ${(q)words[1]} complete ${(q)asked} 2>/dev/null)}"; do
    text=${line%%$'\t'*}
    told=${${line#*$'\t'}[1,60]}
    case $text in
    '') ;;
    :files) files=_files ;;
    :folders) files=(_files -/) ;;
    *' ')
        ends+=(${text% })
        ends_told+=("${text% }${told:+  -- $told}")
        ;;
    *)
        goes_on+=($text)
        goes_on_told+=("$text${told:+  -- $told}")
        ;;
    esac
done
if (( $#ends + $#goes_on )); then
    (( $#ends )) && compadd -l -d ends_told -- $ends
    (( $#goes_on )) && compadd -l -S '' -d goes_on_told -- $goes_on
    return 0
fi
compset -P '--[a-z-]#='
[[ -n $files ]] && $=files
