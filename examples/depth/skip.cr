# The same with a skip over layers 2..N-1: what that cures, and what not.   chainrule explain skip.cr
fun sigma : R -> R
let x : R, w[1..N] : R, b[1..N] : R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N
def o[i] = sigma(s[i])          for i in 1..N
def s[N] = w[N]*(o[N-1] + o[1]) + b[N]

derive o[N] wrt w[1]
