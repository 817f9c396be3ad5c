let x : R^d, W[1..N] : R^{d x d}, c[1..N] : R^d
def o[0] = x
def o[i] = tanh(W[i]*o[i-1] + c[i]) for i in 1..N
derive sum(o[N]) wrt W[k][1,2]
derive o[N] wrt c[k]
eval prod(i=N..2, diag(c[i])*W[i])*x + prod(i=k..-1..1, W[i])*c[k]
