# bash completion for chainrule
_chainrule()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    local common="-e --let --wrt --set --seed --json --quiet --threads --precision --deterministic --help --version"
    local model="-o --set --at --data --label --standardize --scale --allow-links --seed --json --quiet --threads"
    model="$model --precision --deterministic --help --version"
    local options
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "derive eval check explain run grad diagnose export --help --version" -- "$cur"))
        return
    fi
    case $prev in
        --format)
            local formats="text unicode latex numpy c"
            [[ $command == explain ]] && formats="text unicode latex"
            COMPREPLY=($(compgen -W "$formats" -- "$cur"))
            return ;;
        --bn) COMPREPLY=($(compgen -W "batch stored" -- "$cur")); return ;;
        --dropout|--paths|--spectrum) COMPREPLY=($(compgen -W "off on" -- "$cur")); return ;;
        --form) COMPREPLY=($(compgen -W "auto component matrix gradient" -- "$cur")); return ;;
        --precision) COMPREPLY=($(compgen -W "f32 f64" -- "$cur")); return ;;
        --loss) COMPREPLY=($(compgen -W "auto ce mse bce l1 none" -- "$cur")); return ;;
        --data | --cotangent | --against | --weights | -o) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --json | --html) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --at) COMPREPLY=($(compgen -f -X '!*.@(npz|safetensors)' -- "$cur")); return ;;
        -e | --let | --wrt | --set | --seed | --threads | --points | --depth | --label | --batch | --scale | \
            --samples | --output | --ignore-index | --fail-on | --loss-scale | --redraws | --budget) return ;;
        --weights-state) COMPREPLY=($(compgen -W "initialisation trained" -- "$cur")); return ;;
    esac
    case $command in
        derive) options="$common --format --form --steps --depth" ;;
        eval) options="$common --at --depth --plan" ;;
        check) options="$common --at --depth --form --points" ;;
        explain) options="$common --format" ;;
        run) options="$model --batch" ;;
        grad) options="$model --batch --loss --cotangent --output --ignore-index" ;;
        export) options="--set --at --seed -o --json --quiet --help" ;;
        diagnose)
            options="${model/-o /} --loss --output --ignore-index --samples --fail-on --html"
            options+=" --bn --dropout --paths --spectrum --loss-scale --redact --against --weights"
            options+=" --weights-state --redraws --budget" ;;
        *) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    elif [[ $command == run || $command == grad || $command == diagnose ]]; then
        COMPREPLY=($(compgen -f -X '!*.@(onnx|cr)' -- "$cur") $(compgen -d -- "$cur"))
    else
        COMPREPLY=($(compgen -f -X '!*.cr' -- "$cur") $(compgen -d -- "$cur"))
    fi
}
complete -o filenames -F _chainrule chainrule
