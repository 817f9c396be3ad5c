let x : R, v[1..2*N] : R, m : Z
def o[0] = x
def o[j] = o[j-1] + v[2*j]*relu(v[2*j-1]*o[j-1]) for j in 1..N
derive o[N] wrt v[k]
derive o[m] wrt v[1]
