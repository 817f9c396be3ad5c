let x : R, w[1..N] : R, b[1..N] : R
fun sigma : R -> R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i] for i in 1..N
def o[i] = sigma(s[i]) for i in 1..N
derive o[N] wrt w[1]
derive o[N] wrt w[k]
derive o[N] wrt w
def s[N] = w[N]*(o[N-1] + o[1]) + b[N]
derive o[N] wrt w[1]
