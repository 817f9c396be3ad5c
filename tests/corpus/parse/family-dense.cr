let x : R, w[1..N] : R
def o[0] = x
def o[i] = w[i]*sum(j=0..i-1, o[j]) for i in 1..N
derive o[N] wrt w[k]
derive sum(i=1..N, sum(j=1..i, o[j])) wrt x
derive sum(i=1..N, (o[i] - w[i])^2) wrt w
