# N neurons one after the other, and any sizes of them: a network for `run`, `grad`, `diagnose` and `export`.
let x : R, w[1..N] : R, b[1..N] : R
fun sigma(z) = sigmoid(z)
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N
def o[i] = sigma(s[i])          for i in 1..N
derive o[N] wrt w[1]
