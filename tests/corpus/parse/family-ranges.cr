let m : Z, x : R, w[0..N] : R
def o[-1] = x
def o[0] = x
def o[i] = sin(w[i]*o[i-1]) + o[i-2] for i in 1..N
def o[m] = o[m-1]
def o[i] = o[i-1] for i in m+1..N-1
derive o[N]*o[m] wrt w[m]
