# Machine Learning, sheet 11, Task 2: vanishing gradients. N layers of one neuron each; N stays a symbol, and sigma is
# any differentiable function.
#
#     chainrule derive task2.cr            the results
#     chainrule derive --steps task2.cr    how to get there
#     chainrule explain task2.cr           (b), (e), (f) in words: why the gradients vanish or explode, and what helps

fun sigma : R -> R                  # the activation, arbitrary
let x : R, w[1..N] : R, b[1..N] : R

def o[0] = x
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N       # (1)
def o[i] = sigma(s[i])          for i in 1..N       # (2)

derive o[N] wrt w[1]                # (a) one factor w[i]*sigma'(s[i]) for each layer behind the first
derive o[N] wrt w[k]                #     the same for layer k
derive o[N] wrt w                   #     all of them: a vector with N entries

# (c) A skip connection over the layers 2, ..., N-1: layer N also sees the output of layer 1. Only (1) for i = N changes.
def s[N] = w[N]*(o[N-1] + o[1]) + b[N]

derive o[N] wrt w[1]                # (d) 1 + product: the path over the skip has none of the factors 2, ..., N-1
derive o[N] wrt w[k]                #     layers inside of the skipped stretch still have one path only

# The other customary place for the skip is behind the activation of layer N: (2) changes, and the 1 has no factor at all.
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N
def o[N] = sigma(s[N]) + o[1]

derive o[N] wrt w[1]                # (c), (d) with the skip added to the output

# (f) Favourable gradients for a layer j > 1 too. A skip that starts at layer j gives layer j the 1 + product of (d):
let j : Z
def o[i] = sigma(s[i])          for i in 1..N
def s[N] = w[N]*(o[N-1] + o[j]) + b[N]

derive o[N] wrt w[j]

# In residual layers each factor becomes 1 + w[i]*sigma'(s[i]): every layer has a path without any factor.
def s[i] = w[i]*o[i-1] + b[i]      for i in 1..N
def o[i] = o[i-1] + sigma(s[i])    for i in 1..N

derive o[N] wrt w[1]
derive o[N] wrt w[k]
