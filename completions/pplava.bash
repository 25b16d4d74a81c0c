# Completion of pplava, made by `python -m pplava_cli.completions`; do not edit.

_pplava() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
    local command=pplava words= index
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$command ${COMP_WORDS[index]}" in
            "pplava ask") command=pplava_ask ;;
            "pplava caption") command=pplava_caption ;;
            "pplava chat") command=pplava_chat ;;
            "pplava heatmap") command=pplava_heatmap ;;
            "pplava visualize-attention") command=pplava_visualize_attention ;;
            "pplava frames") command=pplava_frames ;;
            "pplava train") command=pplava_train ;;
            "pplava bench") command=pplava_bench ;;
            "pplava settings") command=pplava_settings ;;
            "pplava version") command=pplava_version ;;
            "pplava eval") command=pplava_eval ;;
            "pplava shapes") command=pplava_shapes ;;
            "pplava models") command=pplava_models ;;
            "pplava cache") command=pplava_cache ;;
            "pplava_eval shapes") command=pplava_eval_shapes ;;
            "pplava_shapes render") command=pplava_shapes_render ;;
            "pplava_models list") command=pplava_models_list ;;
            "pplava_models info") command=pplava_models_info ;;
            "pplava_models path") command=pplava_models_path ;;
            "pplava_cache info") command=pplava_cache_info ;;
            "pplava_cache clear") command=pplava_cache_clear ;;
        esac
    done
    case "$command $previous" in
        "pplava_ask --frames") return ;;
        "pplava_ask --fps") return ;;
        "pplava_ask --from") return ;;
        "pplava_ask --to") return ;;
        "pplava_ask --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_ask --kernel") return ;;
        "pplava_ask --stride") return ;;
        "pplava_ask --tokens") return ;;
        "pplava_ask --weighting") COMPREPLY=($(compgen -W "literal window authors average max none" -- "$current")); return ;;
        "pplava_ask --max-new-tokens") return ;;
        "pplava_ask --temperature") return ;;
        "pplava_ask --seed") return ;;
        "pplava_ask --model") return ;;
        "pplava_ask --device") return ;;
        "pplava_ask --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_caption --detail") COMPREPLY=($(compgen -W "short normal long" -- "$current")); return ;;
        "pplava_caption --frames") return ;;
        "pplava_caption --fps") return ;;
        "pplava_caption --from") return ;;
        "pplava_caption --to") return ;;
        "pplava_caption --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_caption --kernel") return ;;
        "pplava_caption --stride") return ;;
        "pplava_caption --tokens") return ;;
        "pplava_caption --weighting") COMPREPLY=($(compgen -W "literal window authors average max none" -- "$current")); return ;;
        "pplava_caption --max-new-tokens") return ;;
        "pplava_caption --temperature") return ;;
        "pplava_caption --seed") return ;;
        "pplava_caption --model") return ;;
        "pplava_caption --device") return ;;
        "pplava_caption --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_chat --frames") return ;;
        "pplava_chat --fps") return ;;
        "pplava_chat --from") return ;;
        "pplava_chat --to") return ;;
        "pplava_chat --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_chat --kernel") return ;;
        "pplava_chat --stride") return ;;
        "pplava_chat --tokens") return ;;
        "pplava_chat --weighting") COMPREPLY=($(compgen -W "literal window authors average max none" -- "$current")); return ;;
        "pplava_chat --max-new-tokens") return ;;
        "pplava_chat --temperature") return ;;
        "pplava_chat --seed") return ;;
        "pplava_chat --model") return ;;
        "pplava_chat --device") return ;;
        "pplava_chat --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_heatmap --output" | "pplava_heatmap -o") return ;;
        "pplava_heatmap --compare") return ;;
        "pplava_heatmap --frames") return ;;
        "pplava_heatmap --fps") return ;;
        "pplava_heatmap --from") return ;;
        "pplava_heatmap --to") return ;;
        "pplava_heatmap --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_heatmap --model") return ;;
        "pplava_heatmap --device") return ;;
        "pplava_heatmap --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_visualize_attention --output" | "pplava_visualize_attention -o") return ;;
        "pplava_visualize_attention --compare") return ;;
        "pplava_visualize_attention --frames") return ;;
        "pplava_visualize_attention --fps") return ;;
        "pplava_visualize_attention --from") return ;;
        "pplava_visualize_attention --to") return ;;
        "pplava_visualize_attention --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_visualize_attention --model") return ;;
        "pplava_visualize_attention --device") return ;;
        "pplava_visualize_attention --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_frames --output" | "pplava_frames -o") return ;;
        "pplava_frames --size") COMPREPLY=($(compgen -W "model original" -- "$current")); return ;;
        "pplava_frames --frames") return ;;
        "pplava_frames --fps") return ;;
        "pplava_frames --from") return ;;
        "pplava_frames --to") return ;;
        "pplava_frames --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_frames --model") return ;;
        "pplava_train --config") return ;;
        "pplava_train --output" | "pplava_train -o") return ;;
        "pplava_train --seed") return ;;
        "pplava_bench --rounds") return ;;
        "pplava_bench --frames") return ;;
        "pplava_bench --fps") return ;;
        "pplava_bench --from") return ;;
        "pplava_bench --to") return ;;
        "pplava_bench --reader") COMPREPLY=($(compgen -W "pyav decord" -- "$current")); return ;;
        "pplava_bench --kernel") return ;;
        "pplava_bench --stride") return ;;
        "pplava_bench --tokens") return ;;
        "pplava_bench --weighting") COMPREPLY=($(compgen -W "literal window authors average max none" -- "$current")); return ;;
        "pplava_bench --max-new-tokens") return ;;
        "pplava_bench --temperature") return ;;
        "pplava_bench --seed") return ;;
        "pplava_bench --model") return ;;
        "pplava_bench --device") return ;;
        "pplava_bench --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_eval_shapes --data") return ;;
        "pplava_eval_shapes --questions") return ;;
        "pplava_eval_shapes --seed") return ;;
        "pplava_eval_shapes --output" | "pplava_eval_shapes -o") return ;;
        "pplava_eval_shapes --kernel") return ;;
        "pplava_eval_shapes --stride") return ;;
        "pplava_eval_shapes --tokens") return ;;
        "pplava_eval_shapes --weighting") COMPREPLY=($(compgen -W "literal window authors average max none" -- "$current")); return ;;
        "pplava_eval_shapes --model") return ;;
        "pplava_eval_shapes --device") return ;;
        "pplava_eval_shapes --dtype") COMPREPLY=($(compgen -W "float32 bfloat16 float16" -- "$current")); return ;;
        "pplava_shapes_render --split") COMPREPLY=($(compgen -W "train validation test" -- "$current")); return ;;
        "pplava_shapes_render --questions") return ;;
        "pplava_shapes_render --seed") return ;;
        "pplava_shapes_render --workers") return ;;
    esac
    case "$command" in
        pplava) words="ask caption chat heatmap visualize-attention frames train bench settings version eval shapes models cache --version --debug --help -h" ;;
        pplava_ask) words="--frames --fps --from --to --reader --kernel --stride --tokens --weighting --max-new-tokens --temperature --seed --model --device --dtype --quiet --debug --json --each --evidence --help -h" ;;
        pplava_caption) words="--detail --evidence --frames --fps --from --to --reader --kernel --stride --tokens --weighting --max-new-tokens --temperature --seed --model --device --dtype --quiet --debug --json --help -h" ;;
        pplava_chat) words="--frames --fps --from --to --reader --kernel --stride --tokens --weighting --max-new-tokens --temperature --seed --model --device --dtype --quiet --debug --help -h" ;;
        pplava_heatmap) words="--output -o --compare --patches --frames --fps --from --to --reader --model --device --dtype --quiet --debug --json --help -h" ;;
        pplava_visualize_attention) words="--output -o --compare --patches --frames --fps --from --to --reader --model --device --dtype --quiet --debug --json --help -h" ;;
        pplava_frames) words="--output -o --size --force --frames --fps --from --to --reader --model --quiet --debug --json --help -h" ;;
        pplava_train) words="--config --output -o --seed --quiet --debug --help -h" ;;
        pplava_bench) words="--rounds --frames --fps --from --to --reader --kernel --stride --tokens --weighting --max-new-tokens --temperature --seed --model --device --dtype --quiet --debug --json --help -h" ;;
        pplava_settings) words="--quiet --debug --json --help -h" ;;
        pplava_version) words="--quiet --debug --json --help -h" ;;
        pplava_eval) words="shapes --help -h" ;;
        pplava_eval_shapes) words="--data --questions --seed --output -o --kernel --stride --tokens --weighting --model --device --dtype --quiet --debug --json --help -h" ;;
        pplava_shapes) words="render --help -h" ;;
        pplava_shapes_render) words="--split --questions --seed --workers --quiet --debug --json --help -h" ;;
        pplava_models) words="list info path --help -h" ;;
        pplava_models_list) words="--quiet --debug --json --help -h" ;;
        pplava_models_info) words="--quiet --debug --json --help -h" ;;
        pplava_models_path) words="--quiet --debug --json --help -h" ;;
        pplava_cache) words="info clear --help -h" ;;
        pplava_cache_info) words="--quiet --debug --json --help -h" ;;
        pplava_cache_clear) words="--quiet --debug --json --help -h" ;;
    esac
    if [[ "$current" == -* || "$command" =~ ^(pplava|pplava_eval|pplava_shapes|pplava_models|pplava_cache)$ ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}

# where nothing is offered, -o default offers file names
complete -o default -F _pplava pplava
