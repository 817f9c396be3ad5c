#!/usr/bin/env bash
# What chainrule does, on one screen after the other; ./run demo runs it after the build and lays out the PDF after it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CHAINRULE=${CHAINRULE:-$PWD/build/chainrule}

bold='' soft='' off=''
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' soft=$'\e[2m' off=$'\e[0m'
fi

title() { printf '\n%s%s%s\n%s\n' "$bold" "$1" "$off" "${2:-}"; }

# show ARGUMENTS: prints the command as one would type it, runs it. A finding (exit status 1) is no failure here.
show() {
    local shown='' x
    for x in "$@"; do
        case $x in *[!a-zA-Z0-9/._-]*) shown+=" \"$x\"" ;; *) shown+=" $x" ;; esac
    done
    printf '%s$ chainrule%s%s\n' "$soft" "$shown" "$off"
    "$CHAINRULE" "$@" || [ $? = 1 ]
    echo
}

title "1. An exercise sheet" \
    "Six partial derivatives of an affine layer and of a small network, where they are well defined."
start=${EPOCHREALTIME/[.,]/}
show derive examples/sheet-11/task1.cr
echo "($(((${EPOCHREALTIME/[.,]/} - start) / 1000)) ms)"

title "2. How it got there" "The loss of every classifier, and why its gradient is so short."
show derive --steps -e "-p'*log(softmax(W*x))" --let "W : R^{n x d}, x : R^d, p : R^n probability" --wrt W

title "3. Where a derivative exists, and where its formula is right" \
    "Two questions. At a kink the program answers both from one-sided series, and finds all three cases:"
show check -e "relu(x)^2" --let "x : R" --wrt x --at "x = 0"
show check -e "relu(x) - relu(-x)" --let "x : R" --wrt x --at "x = 0"
show check -e "relu(x)" --let "x : R" --wrt x --at "x = 0"

title "4. A network of N layers, with N a symbol and an unknown activation" \
    "The gradient of a chain, and with a skip over layers 2..N-1: 1 + product."
show derive examples/sheet-11/task2.cr

title "5. Why gradients vanish and explode" "What one layer does, and what the skip cures."
show explain examples/depth/skip.cr

title "6. Second derivatives stay small" \
    "Matrix factorisation: the Hessian by U has (m k)^2 entries, its formula two factors."
show derive -e "tr((T - U*V')*(T - U*V')')" --let "T : R^{m x n}, U : R^{m x k}, V : R^{n x k}" --wrt "U, U"

title "7. A real network on real data" \
    "30 sigmoid layers on 8 x 8 pictures of digits: what is left of the gradient, and with the skip of the sheet."
show diagnose examples/digits/deep.cr --data examples/digits/digits.csv.gz --label last --scale 0.0625 \
    --against examples/digits/skip.cr --html build/digits.html
echo "the same as a page: build/digits.html"
