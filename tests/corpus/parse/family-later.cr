let x : R, w[1..N] : R
def o[0] = x
def o[i] = w[i]*o[i+1] for i in 1..N
eval o[N]
