let x : R, w[1..N] : R
def p[0] = x
def q[0] = 1
def p[i] = w[i]*q[i-1] + p[i-1] for i in 1..N
def q[i] = p[i]*q[i-1] for i in 1..N
derive p[N]*q[N] wrt w[1], x
