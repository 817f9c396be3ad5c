# A chain of N layers of one neuron: why its gradient vanishes or explodes.   chainrule explain chain.cr
fun sigma : R -> R
let x : R, w[1..N] : R, b[1..N] : R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N
def o[i] = sigma(s[i])          for i in 1..N

derive o[N] wrt w[1]
