fun f(z) = z*o[N]
let x : R, w[1..N] : R
def o[0] = x
def o[i] = g(o[i-1]) for i in 1..N
fun g(z) = w[1]*z + sum(i=1..N, w[i])
eval f(f(x)) + w[N+1-k]*w[k]
