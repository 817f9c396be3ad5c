# Any activation function: sigma is only supposed to be differentiable.
let x : R^n, W : R^{m x n}, b : R^m, v : R^m
fun sigma : R -> R
derive v'*sigma(W*x + b) wrt x
derive v'*sigma(W*x + b) wrt W
derive v'*sigma(W*x + b) wrt x, x

# One of your own.
fun swish(t) = t*sigmoid(t)
derive swish(W*x + b)[i] wrt x[j]

let t : R
derive swish(t) wrt t
derive gelu(t) wrt t
