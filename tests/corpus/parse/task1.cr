# task1.cr
let x : R^n, W : R^{m x n}, b : R^m, a : R^m
def f = W*x + b
def g = a' * relu(W*x + b)

derive f[1] wrt x[j]
derive f[1] wrt W[i,j]
derive relu(f)[1] wrt x[j]
derive sigmoid(f)[1] wrt x[j]
derive g wrt x[j]
derive g wrt W            # matrix form
derive g wrt x, x         # second order
