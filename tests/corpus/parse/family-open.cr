let w[1..N] : R, u[0..N-1] : R^{2 x 2} positive
def s[i] = w[i]*o[i-1 for i in 1..N
def o[i = s[i] for i in
def o[1..2] = u[k][1,2]
